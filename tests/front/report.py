"""Progress on the terminal, and the report as JSON."""
import json
import sys
import time


class Report:
    """Collects runs: one target each, with its checks."""

    def __init__(self, args):
        self.args, self.runs, self.troubles = args, [], []
        self.started, self.clock = time.time(), time.monotonic()

    def say(self, text, end="\n"):
        print(text, end=end, flush=True)

    def begin(self, kind, level, target):
        self.runs.append({"kind": kind, "level": level, "target": target.address, "source": target.source, "checks": [], "not_run": 0})
        self.say(f"{kind} {level}: {target.described}")

    def checking(self, title):
        self.say(f"  {title + ' ':.<58} ", end="")

    def checked(self, name, title, outcome, ms, detail, hint):
        self.runs[-1]["checks"].append({"name": name, "title": title, "outcome": outcome, "ms": ms, "detail": detail, "hint": hint})
        took = f" ({ms} ms)" if ms >= 100 else ""
        text = {"ok": "ok", "failed": "FAILED", "skipped": "skipped"}[outcome]
        self.say(f"{text}{took}{': ' + detail if detail and outcome == 'ok' else ''}")
        if outcome != "ok":
            self.say(f"      {detail}")
        if hint:
            self.say(f"      hint: {hint}")

    def not_run(self, n):
        self.runs[-1]["not_run"] = n
        self.say(f"  {n} more checks are not worth running")

    def trouble(self, text):
        """Something that kept checks from running at all."""
        self.troubles.append(text)
        print(f"test.sh: {text}", file=sys.stderr, flush=True)

    def count(self, outcome):
        return sum(c["outcome"] == outcome for r in self.runs for c in r["checks"])

    @property
    def exit_code(self):
        return 1 if self.count("failed") else 2 if self.troubles or not self.count("ok") else 0

    def end(self):
        """Says how it all went, writes the file; the exit code."""
        seconds = time.monotonic() - self.clock
        counts = {o: self.count(o) for o in ("ok", "failed", "skipped")}
        for r in self.runs:
            for c in r["checks"]:
                if c["outcome"] == "failed":
                    self.say(f"failed: {r['kind']} at {r['target']}: {c['title']}: {c['detail']}")
        self.say(", ".join(f"{n} {o}" for o, n in counts.items()) + f" in {seconds:.1f} s")
        if self.args.json:
            summary = counts | {"not_run": sum(r["not_run"] for r in self.runs), "troubles": self.troubles}
            doc = {"format": 1, "started": round(self.started, 3), "ms": round(seconds * 1000), "runs": self.runs, "summary": summary,
                   "exit_code": self.exit_code}
            try:
                self.args.json.write_text(json.dumps(doc, indent=1) + "\n")
            except OSError as e:
                self.trouble(f"{self.args.json} cannot be written: {e.strerror}")
        return self.exit_code
