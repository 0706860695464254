/* The page at /: files of this folder, embedded at build time (base/embed.sh). They speak the API
 * that everybody speaks, ask nothing of any other origin, and run under a policy that says so.
 * page_index and page_file are handlers of api/routes.def. */
#ifndef RECURD_PAGE_H
#define RECURD_PAGE_H

struct page_text {
    const char *name, *text; /* text: NUL-terminated UTF-8 */
};
extern const struct page_text page_texts[]; /* ends with a NULL name */

#endif
