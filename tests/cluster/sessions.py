"""Conversations that live in the cluster: one history each, whatever fails, and nothing of it lost that
was acknowledged."""
import json
import threading

from clients import Client, Fault, compare, ids
WHOLE = {"return_token_ids": True, "logprobs": 2}
LONGEST = 360


class Session:
    """A session, the path that its client has been told of, and where its turns ended."""
    kind = "session"

    def __init__(self, user, made=None, path=(), ends=()):
        self.user, self.path, self.ends, self.turns = user, list(path), list(ends), 0
        self.shared = True  # as its client was told last
        self.name = "(a new one)"
        made = made or self.ask("POST", "/v1/sessions", {})[2]
        self.name = self.sid = made["id"]
        self.remember(made)
        user.sessions.append(self)

    def ask(self, method, path, body=None, wanted=(200,), client=None):
        # What was not acknowledged as shared may be at one replica alone, and that one away.
        again = () if self.shared else (404,)
        try:
            return (client or self.user.client).until_answered(method, path, body, wanted, again)
        except Fault as e:
            raise Fault("%s; session %s is known at: %s" % (e, self.name, self.places())) from None

    def remember(self, told):
        self.shared, self.generation = told.get("shared", False), told["generation"]

    def change(self, path, body, client=None):
        """A change that is made once, also when requests that were given up arrive late: only of the
        generation that is known. 412: somebody else was first, or it is this change, made before."""
        while True:
            answer = self.ask("POST", path, dict(body, expected_generation=self.generation),
                              (200, 412), client)
            if answer[0] == 200 or answer[2]["error"]["param"] != "expected_generation":
                return answer
            # It may also have become shared, which nobody was told.
            now = self.ask("GET", "/v1/sessions/" + self.sid, client=client)[2]
            if now["position"] != len(self.path) or now["generation"] == self.generation:
                return answer
            self.generation = now["generation"]

    def places(self):
        found = []
        for name, r in self.user.run_.cluster.replicas.items():
            try:
                status, _, data = r.request("GET", "/v1/sessions/" + self.name, key=self.user.key)
                found.append("%s %s" % (name, json.loads(data)["position"] if status == 200
                                        else status))
            except OSError as e:
                found.append("%s %s" % (name, e))
        return ", ".join(found)

    def body(self, **more):
        self.turns += 1
        r = self.user.r
        new = ids(r.randrange(1, 40), r.random())
        return dict(WHOLE, session=self.sid, turn_id="%s-%d" % (self.sid[:8], self.turns),
                    prompt=new, max_tokens=r.randrange(1, 12), **more)

    def alone(self, body, sampling):
        """What one server alone says behind the whole path."""
        plain = dict(WHOLE, prompt=self.path + body["prompt"], max_tokens=body["max_tokens"],
                     **sampling)
        return self.user.alone.until_answered("POST", "/v1/completions", plain)[2]["choices"][0]

    def went_on(self, answer, body, sampling):
        if answer[0] != 200:
            raise Fault("a turn of session %s at %d: %s; it is known at: %s" % (
                self.sid, len(self.path), answer[2], self.places()))
        reply = answer[2]
        choice, wanted = reply["choices"][0], self.alone(body, sampling)
        compare(choice, wanted, "a turn of session " + self.sid)
        self.path += body["prompt"] + reply["choices"][0]["token_ids"]
        self.ends.append(len(self.path))
        if reply["session"]["position"] != len(self.path):
            raise Fault("session %s is at %d after a turn that ends at %d" % (
                self.sid, reply["session"]["position"], len(self.path)))
        self.user.count(answer[1], reply["usage"])
        self.remember(reply["session"])
        self.user.counts["acknowledged as " + ("shared" if self.shared else
                                               reply["session"]["persist"])] += 1

    def turn(self):
        sampling = self.user.sampling()
        at = {"expected_position": len(self.path)} if self.user.r.random() < 0.5 else {}
        if self.user.r.random() < 0.15:
            self.race(sampling)
        else:
            body = dict(self.body(**at), **sampling)
            self.went_on(self.change("/v1/completions", body), body, sampling)
        return len(self.path) < LONGEST

    def race(self, sampling):
        """Two clients take one turn: one of them has it, the other is told that it came late."""
        bodies = [dict(self.body(expected_position=len(self.path)), **sampling) for _ in range(2)]
        bodies[1]["prompt"] = bodies[1]["prompt"] + [9]
        replies, faults = [None, None], []

        def take(i):
            client = Client(self.user.client.address, self.user.key)
            try:
                replies[i] = self.change("/v1/completions", bodies[i], client)
            except Exception as e:  # told below
                faults.append(e)
            finally:
                client.close()
        both = [threading.Thread(target=take, args=(i,)) for i in range(2)]
        for t in both:
            t.start()
        for t in both:
            t.join()
        if faults:
            raise faults[0]
        won = [i for i in range(2) if replies[i][0] == 200]
        self.user.counts["session race"] += 1
        if len(won) != 1:
            raise Fault("two histories: of two turns at %d of session %s %d were answered: %s" % (
                len(self.path), self.sid, len(won), [r[2] for r in replies]))
        self.went_on(replies[won[0]], bodies[won[0]], sampling)

    def fork(self):
        at = self.user.r.choice(self.ends) if self.ends else 0
        made = self.ask("POST", "/v1/sessions/%s/fork" % self.sid,
                        {"position": at} if at else {})[2]
        if made["position"] != at:
            raise Fault("a fork of session %s at %d is at %d" % (self.sid, at, made["position"]))
        return Session(self.user, made, self.path[:at], [e for e in self.ends if e <= at])

    def rewind(self):
        if not self.ends:
            return
        at = self.user.r.choice(self.ends)
        status, _, told = self.change("/v1/sessions/%s/rewind" % self.sid, {"position": at})
        if status != 200:
            told = self.ask("GET", "/v1/sessions/" + self.sid)[2]
        if told["position"] != at:
            raise Fault("session %s rewound to %d is at %d" % (self.sid, at, told["position"]))
        self.remember(told)
        self.path, self.ends = self.path[:at], [e for e in self.ends if e <= at]

    def check(self):
        """At the end, when everything is whole: all of its history is there, and it goes on; if it is
        shared, at every replica."""
        at = [self.ask("GET", "/v1/sessions/" + self.sid)[2]["position"]]
        for r in self.user.run_.cluster.replicas.values():
            client = Client(r.host.address, self.user.key)
            at.append(self.ask("GET", "/v1/sessions/" + self.sid, client=client)[2]["position"])
            client.close()
        if set(at) != {len(self.path)}:
            raise Fault("session %s is at %s, and %d was acknowledged" % (self.sid, at,
                                                                         len(self.path)))
        sampling = {"temperature": 0, "ignore_eos": True}
        body = dict(self.body(), **sampling)
        self.went_on(self.change("/v1/completions", body), body, sampling)
