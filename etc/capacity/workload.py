"""What is asked of a group of replicas and what they have: times between turns, the states of a path,
sizes. Both the estimate (estimate.py) and the simulation (events.py) start from here."""
import dataclasses
import functools

# The cache's own numbers: statecache/index/planner.h and .c, evict.h, value/behind.c, tiers.c,
# store/codec.h, shared/. A test compares them with the sources.
GRID = 64            # tokens between the finest points that are kept
LATEST = 8           # of every spacing 64 * 2^k the latest so many stay
POINT_SHARE = 8      # another point stays if the next is farther than 1/8 of its way to the end
CANDIDATES = 32      # the oldest states, of which one is given up
HALF_LIFE_S = 600.0  # a state that is not used is worth half after that
EVICT_INNER = 32.0   # a state on the way is worth so much less than the last of a path …
EVICT_END_TOKENS = 64.0  # … which counts as if it saved so many tokens, at least
BEHIND_BYTES_S = 2 << 20   # states of plain prompts are written behind at so much, at most
BEHIND_LATE_S = 10         # … and left out when they waited longer
HEAD = 720           # of a file
ID_BYTES = 4.2       # of a token on disk
SHARED_GAIN = 32     # tokens a shared state must save to be asked for
CHUNK = 1 << 20      # of a value in the shared store
TAG = 16
PUT_SHARE = 20       # putting states takes a 1/20 of the processors at most …
PUT_S_MIB = 0.002    # … and so long for a MiB

GRID_POINT, END_POINT = 0, 1
PLACES = ("device", "ram", "disk", "shared", "recompute")


class Gaps:
    """The time from a turn's end to the next of its conversation: a mixture of (weight, mean, alpha),
    alpha None: exponential, else Pareto's second kind (Lomax) with that tail, both beginning at 0."""

    def __init__(self, parts, shift=0.0):
        total = sum(p[0] for p in parts)
        self.parts = [(w / total, m, a) for w, m, a in parts]
        self.shift = shift  # what a turn itself takes
        self.mean = shift + sum(w * m for w, m, _ in self.parts)

    def later(self, x):
        """The share of gaps longer than x: 1 - F(x)."""
        x -= self.shift
        if x <= 0:
            return 1.0
        return sum(w * (2.718281828459045 ** (-x / m) if a is None else
                        (1 + x / (m * (a - 1))) ** -a) for w, m, a in self.parts)

    def within(self, x):
        return 1.0 - self.later(x)

    def age(self, x):
        """The share of conversations, at any moment, whose last turn began less than x ago: the integral
        of 1 - F from 0 to x over the mean (the residual life of a renewal process)."""
        known = min(x, self.shift)
        x -= known
        known += sum(w * m * (1 - (2.718281828459045 ** (-x / m) if a is None else
                                   (1 + x / (m * (a - 1))) ** (1 - a)))
                     for w, m, a in self.parts) if x > 0 else 0.0
        return known / self.mean

    def inverse(self, of, share):
        """The x at which of (within or age) reaches the share."""
        lo, hi = 0.0, self.mean
        while of(hi) < share and hi < 1e15:
            hi *= 2
        for _ in range(100):
            mid = (lo + hi) / 2
            lo, hi = (mid, hi) if of(mid) < share else (lo, mid)
        return hi

    def draw(self, rng):
        u, v = rng.random(), 1 - rng.random()
        for w, m, a in self.parts:
            if u < w or (w, m, a) == self.parts[-1]:
                break
            u -= w
        if a is None:
            return self.shift + rng.expovariate(1 / m)
        return self.shift + m * (a - 1) * (v ** (-1 / a) - 1)


# ---- the states of a path: statecache/index/planner.c ------------------------------------------

def on_grid(p, end):
    if p <= 0 or p > end or p % GRID:
        return False
    k = ((p // GRID) & -(p // GRID)).bit_length() - 1
    return (end // GRID >> k) - (p // GRID >> k) < LATEST


def stays(kind, p, end, newer):
    return on_grid(p, end) or (kind == END_POINT and newer - p > (end - p) // POINT_SHARE)


def thinned(points, end):
    """Which of points [(position, kind, …)], ascending, the last at `end`, are given up."""
    gone, newer = [], end
    for x in reversed(points[:-1]):
        if stays(x[1], x[0], end, newer):
            newer = x[0]
        else:
            gone.append(x)
    return gone


def captured(start, prompt, end):
    """Positions and kinds that a turn keeps: it starts from a state at `start`, its prompt ends at
    `prompt`, its answer at `end`."""
    first = start - start % GRID + GRID
    points = [(p, GRID_POINT) for p in range(first, prompt, GRID) if on_grid(p, prompt)]
    points.append((prompt, END_POINT))
    points += [(p, GRID_POINT) for p in range(prompt - prompt % GRID + GRID, end, GRID)]
    points.append((end, END_POINT))
    return points


@dataclasses.dataclass
class Setup:
    """One question. Bytes, seconds, tokens; rates a second; sizes and rates of one replica, but for
    the store's."""
    state: int = 0               # session bytes, fixed
    kv: int = 0                  # … and per token
    logits: int = 0              # 4 for each entry of the vocabulary
    sessions: int = 1000         # parked conversations
    kind: str = "chat"           # chat: all of it is sent each time; session: /v1/sessions
    think: list = dataclasses.field(default_factory=lambda: [(1.0, 300.0, None)])
    turns: int = 10              # of a conversation; then another one begins
    first: int = 0               # tokens of a conversation before its first turn's
    tokens_in: int = 100
    tokens_out: int = 200
    replicas: int = 1
    routing: str = "sticky"      # or random
    misrouted: float = 0.0       # share of turns that come to another replica
    slots: int = 0               # device slots that parked states may have (a GPU's)
    ram: float = 1 << 30
    disk: float = 0
    store: float = 0             # bytes of the shared store; 0: none
    shared_rate: float = 256 << 20
    cores: int = 8
    ram_rate: float = 8e9        # host memory to device
    disk_read: float = 1e9
    disk_write: float = 5e8
    disk_s: float = 2e-4
    tbw: float = 6e14            # bytes a disk may be written in its life
    net: float = 1.25e9
    net_s: float = 5e-4          # there and back
    store_net: float = 1.25e9
    prompt_speed: float = 5000.0  # tokens a second
    stream_speed: float = 50.0    # … of one answer
    decode_speed: float = 1000.0  # … of all answers together
    seed: int = 1

    def gaps(self):
        return Gaps(self.think, self.tokens_out / self.stream_speed)

    # ---- sizes ----

    def ends(self, turn):
        """Where turn `turn` (0 is the first) ends its prompt, and its answer."""
        start = self.first + turn * (self.tokens_in + self.tokens_out)
        return start + self.tokens_in, start + self.tokens_in + self.tokens_out

    def context(self):
        """Tokens that a conversation has when a turn comes, on average over all but the first."""
        n = max(self.turns - 1, 1)
        return sum(self.ends(t)[1] for t in range(n)) / n

    def ram_bytes(self, kind):
        return self.state + (self.logits if kind == END_POINT else 0)

    def file_bytes(self, kind, pos):
        return self.ram_bytes(kind) + HEAD + self.kv * pos

    def put_bytes(self, pos):
        """What crosses the network for one state."""
        return self.state + self.logits + (self.kv + 4) * pos

    def stored_bytes(self, pos):
        """… and what the store's allocator takes for its chunks: four classes between powers of two."""
        left, total = int(self.put_bytes(pos)), 0
        while left > 0:
            total += size_class(min(left, CHUNK) + TAG)
            left -= CHUNK
        return total + size_class(HEAD + 64)

    def put_rate(self):
        """Bytes a second that one replica may give the store."""
        cpu = min(self.cores / PUT_SHARE, 1.0) / PUT_S_MIB * (1 << 20)
        return min(self.shared_rate or 1e18, cpu, self.net, self.store_net / self.replicas)

    def routes(self):
        """[(conversations of one replica, the chance that a turn of them comes to it)]."""
        n, r = self.sessions, self.replicas
        if r == 1:
            return [(n, 1.0)]
        if self.routing == "random":
            return [(n, 1.0 / r)]
        p = self.misrouted
        home = [(n / r, 1.0 - p)]
        return home + ([(n * (r - 1) / r, p / (r - 1))] if p > 0 else [])

    def copies(self):
        """Replicas that have had a turn of a session and keep the state behind it, on average over its
        turns: until it is deleted none of them knows whether it will come back."""
        r, n = self.replicas, self.turns
        if r == 1:
            return 1.0
        home, other = (1 / r, 1 / r) if self.routing == "random" else \
            (1 - self.misrouted, self.misrouted / (r - 1))
        return sum(1 - (1 - home) ** t + (r - 1) * (1 - (1 - other) ** t)
                   for t in range(1, n + 1)) / n

    def check(self):
        """One sentence about what makes no sense, or None."""
        if self.state <= 0:
            return "no size of a state: --describe FILE, or --state BYTES"
        if any(a is not None and a <= 1 for _, _, a in self.think):
            return "a Pareto tail of 1 or less has no mean; measured ones are between 1.1 and 3"
        if self.kind == "session" and self.replicas > 1 and not self.store and (
                self.misrouted or self.routing == "random"):
            return "without a store sessions live on their replica: route them sticky, without " \
                "--misrouted, or give --store"
        if self.store and self.state > 8 << 30:
            return "a state of %d bytes is more than a shared store takes (8 GiB)" % self.state
        for name in ("sessions", "replicas", "turns", "tokens_in", "tokens_out"):
            if getattr(self, name) < 1:
                return "%s is %s, at least 1" % (name, getattr(self, name))
        if not 0 <= self.misrouted < 1:
            return "misrouted is %g, a share from 0 to 1" % self.misrouted
        return None


def size_class(n):
    """Bytes that jemalloc, the store's allocator, takes for n."""
    if n <= 128:
        return -(-n // 16) * 16
    step = 1 << ((n - 1).bit_length() - 3)
    return -(-n // step) * step


# ---- what of a path was last used how many turns ago ---------------------------------------------

@functools.lru_cache(None)
def _profile(first, tokens_in, tokens_out, turns):
    s = Setup(first=first, tokens_in=tokens_in, tokens_out=tokens_out, turns=turns)
    after = {}
    for miss in range(turns):
        points = []
        for t in range(miss, turns):
            prompt, end = s.ends(t)
            if points:  # what the turn starts from is used
                points[-1] = points[-1][:2] + (t,)
            start = points[-1][0] if points else 0
            for p, kind in captured(start, prompt, end):
                points.append((p, kind, t))
                if p in (prompt, end):
                    gone = set(thinned(points, p))
                    points = [x for x in points if x not in gone]
            after[miss, t] = list(points)
    return after


def profile(s):
    """after[m, t] = [(position, kind, turn of last use)], the states that a path has once turn t is over,
    if the last turn that found nothing was m: it computed all of the path."""
    return _profile(s.first, s.tokens_in, s.tokens_out, s.turns)
