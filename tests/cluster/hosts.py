"""Hosts on one machine: network namespaces with an address each, joined by one switch, and what can
go wrong between them.

The whole world lives in namespaces of its own for network, mounts and processes (enter()), with its
files in a tmpfs over /run. Nothing of it has a name outside, so nothing can be left behind: when the
first process in it ends, by itself, by Ctrl-C or by kill -9, the kernel ends and removes the rest.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
WORLD = "/run/cluster"  # in the tmpfs: configuration, state folders, logs
INSIDE = "RECURD_CLUSTER_INSIDE"
NET = "10.88.0."
NOWHERE = "02:de:ad:00:00:00"  # a link address that nobody has
TOOLS = ("unshare", "nsenter", "ip", "tc", "mount", "redis-server", "haproxy")
TRY = ("mount -t tmpfs none /run && ip link set lo up && ip link add middle type bridge && "
       "ip link add left type veth peer name right && ip netns add there && "
       "ip link set right netns there && nsenter --net=/run/netns/there true")


def unshared():
    user = ["--user", "--map-root-user"] if os.getuid() else []
    return ["unshare"] + user + ["--net", "--mount", "--pid", "--fork", "--kill-child"]


def why_not():
    """What this machine lacks, or None."""
    missing = [t for t in TOOLS if not shutil.which(t)]
    if missing:
        return "there is no %s (apt-get install util-linux iproute2 redis-server haproxy)" % (
            ", ".join(missing))
    done = subprocess.run(unshared() + ["sh", "-c", TRY], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or "exit code %d" % done.returncode).splitlines()[-1]
        return "it may not create network namespaces here (%s): be root, outside a container" % said
    return None


def enter():
    """Runs this program again inside, and ends as it ends. Returns only inside."""
    if INSIDE in os.environ:
        Share.owner = os.environ.pop(INSIDE)
        # The other end of this pipe is held outside: it closes when that process ends, in any way.
        threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        for command in (["mount", "-t", "tmpfs", "cluster", "/run"], ["ip", "link", "set", "lo", "up"]):
            subprocess.run(command, check=True)
        os.makedirs(WORLD)
        os.environ["TMPDIR"] = WORLD
        return
    why = why_not()
    if why:
        print("skipped: the cluster: " + why)
        sys.exit(0)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    p = subprocess.Popen(unshared() + [sys.executable] + sys.argv, stdin=subprocess.PIPE,
                         env=dict(os.environ, **{INSIDE: str(os.getpid())}))
    try:
        code = p.wait()
    except KeyboardInterrupt:
        code = 130
    p.kill()  # and with it everything inside
    p.wait()
    sys.exit(code if code >= 0 else 128 - code)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError("%s: %s" % (" ".join(command), done.stderr.strip()))


class Patience:
    """Seconds. In the short form only what hangs is a fault: the machine may be busy."""
    silence = 8   # a connection that says nothing for so long is given up, and another made
    answer = 90   # a request that was not answered for so long, whatever failed, is a fault
    event = 60    # likewise what is waited for

    @classmethod
    def long(cls):
        cls.silence, cls.answer, cls.event = 60, 900, 600


class Host:
    """A namespace and its wire to the switch, whose end there has the host's name."""

    def __init__(self, switch, name, number):
        self.switch, self.name, self.address = switch, name, NET + str(number)
        self.path = "/run/netns/" + name
        run("ip", "netns", "add", name)
        run("ip", "link", "add", "name", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", name, "master", "switch", "up")
        for words in ("link set lo up", "address add %s/24 dev eth0" % self.address,
                      "link set eth0 up"):
            self.do("ip", *words.split())

    def enter(self, command):
        """The command as a process of this host."""
        return ["nsenter", "--net=" + self.path] + command

    def do(self, *command):
        run(*self.enter(list(command)))


class Switch:
    """Joins the hosts; this process is on it, too, as the clients' host. Any thread."""

    def __init__(self, names):
        run("ip", "link", "add", "switch", "type", "bridge")
        run("ip", "address", "add", NET + "1/24", "dev", "switch")
        run("ip", "link", "set", "switch", "up")
        self.hosts = {n: Host(self, n, 11 + i) for i, n in enumerate(names)}
        self.netem = self._has_netem()

    def __getitem__(self, name):
        return self.hosts[name]

    def close(self):
        for host in self.hosts.values():
            run("ip", "link", "del", host.name)
            run("ip", "netns", "del", host.name)
        run("ip", "link", "del", "switch")

    @staticmethod
    def _has_netem():
        return subprocess.run(["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "0ms"],
                              capture_output=True).returncode == 0 and \
            subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"]).returncode == 0

    def how(self):
        return "tc netem" if self.netem else \
            "a wire in user space (wire.py): this kernel has no netem"

    def unplug(self, name):
        """The host's cable is out. -> what puts it in again"""
        run("ip", "link", "set", name, "down")
        return lambda: run("ip", "link", "set", name, "up")

    def cut(self, one, other):
        """Two hosts hear nothing of each other, and neither is told: their frames go nowhere."""
        pairs = ((self[one], self[other].address), (self[other], self[one].address))
        for host, address in pairs:
            host.do("ip", "neigh", "replace", address, "lladdr", NOWHERE, "dev", "eth0", "nud",
                    "permanent")

        def heal():
            for host, address in pairs:
                host.do("ip", "neigh", "del", address, "dev", "eth0")
        return heal

    def slow(self, name, ms, loss=0):
        """Frames from and to a host take ms / 2 each, and of a hundred so many are lost."""
        if not self.netem:
            return Wire(self[name], ms / 2, loss).close
        words = "root netem delay %gms loss %g%%" % (ms / 2, loss)
        run("tc", "qdisc", "replace", "dev", name, *words.split())
        self[name].do("tc", "qdisc", "replace", "dev", "eth0", *words.split())

        def heal():
            run("tc", "qdisc", "del", "dev", name, "root")
            self[name].do("tc", "qdisc", "del", "dev", "eth0", "root")
        return heal


class Wire:
    """A process between a host and the switch that hands frames on, late."""
    count = 0

    def __init__(self, host, ms, loss):
        Wire.count += 1
        self.host, self.port, end = host, "late%d" % Wire.count, "end%d" % Wire.count
        run("ip", "link", "add", "name", self.port, "type", "veth", "peer", "name", end)
        wire = os.path.join(HERE, "wire.py")
        host.do(sys.executable, wire, "--whole-frames", "eth0")
        run(sys.executable, wire, "--whole-frames", self.port)
        run("ip", "link", "set", end, "up")
        self.proc = subprocess.Popen([sys.executable, wire, host.name, end, str(ms), str(loss)],
                                     stdout=subprocess.PIPE)
        self.proc.stdout.readline()  # it listens
        run("ip", "link", "set", host.name, "nomaster")
        run("ip", "link", "set", self.port, "master", "switch", "up")

    def close(self):
        run("ip", "link", "del", self.port)
        run("ip", "link", "set", self.host.name, "master", "switch")
        self.proc.kill()
        self.proc.wait()
        self.proc.stdout.close()


class Process:
    """A program on a host that is started again and again; its output is one file."""

    def __init__(self, host, command, prefix=()):
        self.host, self.command, self.prefix = host, command, list(prefix)
        self.log = os.path.join(WORLD, host.name + ".log")
        self.proc = None

    def start(self, command=None):
        with open(self.log, "ab") as log:
            self.proc = subprocess.Popen(self.prefix + self.host.enter(command or self.command),
                                         stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def text(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def signal(self, number):
        self.proc.send_signal(number)

    def kill(self):
        """-> None, or the exit code with which it had ended by itself."""
        code = self.proc.poll()
        if code is None:
            self.proc.kill()
            self.proc.wait()
        return code

    def stop(self):
        self.proc.send_signal(signal.SIGCONT)
        self.proc.terminate()
        return self.proc.wait(Patience.event)


def wait_for(true, what):
    end = time.time() + Patience.event
    while not true():
        if time.time() > end:
            raise RuntimeError("not within %d s: %s" % (Patience.event, what))
        time.sleep(0.02)


class Share:
    """A processor's share of a process: so many hundredths of one CPU, a piece every 20 ms."""
    ROOTS = (("/sys/fs/cgroup/cpu", "cgroup v1 cpu.cfs_quota_us"),
             ("/sys/fs/cgroup", "cgroup v2 cpu.max"))
    owner = None  # the process that entered, as those outside count

    def __init__(self, percent):
        self.percent, self.folders = percent, []
        self.root = self.how = None
        for root, how in self.ROOTS:
            self._sweep(root)
            if not self.root and self._works(root):
                self.root, self.how = root, how

    @staticmethod
    def _sweep(root):
        """What a run that was killed left: folders in /sys are the one thing that outlives it."""
        for name in os.listdir(root) if os.path.isdir(root) else ():
            found = re.fullmatch(r"recurd-cluster-(\d+)-\S+", name)
            if found and not os.path.exists("/proc/" + found.group(1)):
                os.rmdir(os.path.join(root, name))

    def _works(self, root):
        try:
            self._make(root, "try-%d" % time.time_ns())
            return True
        except OSError:
            return False

    def _make(self, root, name):
        folder = os.path.join(root, "recurd-cluster-%s-%s" % (self.owner, name))
        if root == "/sys/fs/cgroup" and os.path.exists(root + "/cgroup.subtree_control"):
            with open(root + "/cgroup.subtree_control", "w") as f:
                f.write("+cpu")
        os.mkdir(folder)
        self.folders.append(folder)
        v2 = os.path.join(folder, "cpu.max")
        quota = self.percent * 200
        for path, value in (((v2, "%d 20000" % quota),) if os.path.exists(v2) else
                            ((os.path.join(folder, "cpu.cfs_period_us"), "20000"),
                             (os.path.join(folder, "cpu.cfs_quota_us"), str(quota)))):
            with open(path, "r+") as f:
                f.write(value)
        return folder

    def prefix(self, name):
        """What a command begins with, so that it runs in a share of its own."""
        folder = self._make(self.root, "%s-%d" % (name, time.time_ns()))
        return ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', folder]

    def close(self):
        for folder in self.folders:
            try:
                os.rmdir(folder)
            except OSError:
                pass
