"""What a store that is slow, dead or silent costs those who are served beside it."""
import statistics
import threading
import time

from clients import Client, ids
from cluster import KEYS
from rows import GREEDY, Common, Result, row

STORES = ("well", "slow", "dead", "silent")
ROUNDS, SECONDS = 5, 3


def p99(address, salt):
    """Two clients beside each other, prompts of 150 tokens that nobody asked before, for SECONDS.
    -> milliseconds, how many, faults"""
    times, faults, end = [], [], time.time() + SECONDS

    def work(n):
        client, i = Client(address, KEYS[n]), 0
        try:
            while time.time() < end:
                i += 1
                body = dict(GREEDY, prompt=ids(150, "%s %d %d" % (salt, n, i)), max_tokens=16)
                t = time.perf_counter()
                status = client.send("POST", "/v1/completions", body)[0]
                times.append(time.perf_counter() - t)
                if status != 200:
                    faults.append(str(status))
        except Exception as e:  # told by the row
            faults.append("%s: %s" % (type(e).__name__, e))
        client.close()
    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    times.sort()
    return times[int(len(times) * 0.99)] * 1000, len(times), faults


def spoil(c, how):
    if how == "slow":
        return c.switch.slow("store", 200)
    if how == "silent":
        return c.switch.unplug("store")
    if how == "dead":
        c.store.process.kill()
        return c.store.start
    return lambda: None


@row()
def a_slow_or_dead_store():
    """p99 of prompts at one replica, while the store answers, is slow, dead or silent, in turns."""
    c, facts, found, faults = Common.whole(), [], {s: [] for s in STORES}, []
    one = c.replicas["one"]
    least = None
    for n in range(ROUNDS):
        for how in STORES[n % 4:] + STORES[:n % 4]:
            heal = spoil(c, how)
            time.sleep(1)
            got, number, bad = p99(one.host.address, "%d %s" % (n, how))
            least = min(least or number, number)
            found[how].append(got)
            faults += bad
            heal()
            end = time.time() + 40
            while not one.metrics()["recurd_shared_up"] and time.time() < end:
                time.sleep(0.1)
    facts.append(("every request is answered: %s" % faults[:3], not faults))
    facts.append(("it heals", one.metrics()["recurd_shared_up"] == 1))
    middle = {s: statistics.median(found[s]) for s in STORES}
    change = {s: 100 * (middle[s] / middle["well"] - 1) for s in STORES[1:]}
    low, _, high = statistics.quantiles(found["well"], n=4)
    noise = 100 * (high - low) / middle["well"]
    figure = "p99 of %d prompts or more, median of %d rounds (range): " % (least, ROUNDS) + "; ".join(
        "%s %.1f ms (%.1f to %.1f)%s" % (s, middle[s], min(found[s]), max(found[s]),
                                         ", %+.1f %%" % change[s] if s in change else "")
        for s in STORES) + "; rounds while it is well are %.0f %% apart (quartiles); delay by %s" % (
            noise, c.switch.how())
    return Result(figure, "5 % more, or what rounds while it is well are apart",
                  max(change.values()) < max(5, noise), facts)
