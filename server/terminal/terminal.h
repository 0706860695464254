/* recurd run: a chat in the terminal, through the daemon's own interface over a socket. */
#ifndef RECURD_TERMINAL_H
#define RECURD_TERMINAL_H

/* argv after "run": a model, or none, and flags of the daemon. Exit code of the process: 0, 2 for a
 * wrong command line, that of the daemon if it did not start, else 1. Thread: main, before others
 * exist; it blocks SIGINT. */
int terminal_main(int argc, char **argv);

#endif
