"""A manager at the console: pages fetched and forms sent as a browser would, through Flask's test client."""

import re
from html import unescape
from html.parser import HTMLParser

from service_maker import CONSOLE_SECRET, planned

from labeling_config.contract import CONSOLE, CONSOLE_HEADER, MANAGER_HEADER, SESSION_HEADER
from preference.records import Judgment


def signed_in(name="maria@example.org", session="s1"):
    return {CONSOLE_HEADER: CONSOLE_SECRET, MANAGER_HEADER: name, SESSION_HEADER: session}


class _Forms(HTMLParser):
    def __init__(self):
        super().__init__()
        self.forms = []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag == "form":
            self.forms.append({})
        elif tag == "input" and self.forms and found.get("name") and found.get("type") not in ("radio", "checkbox"):
            self.forms[-1][found["name"]] = found.get("value") or ""


class Browser:
    """One manager's browser."""

    def __init__(self, client, **who):
        self.client, self.headers = client, signed_in(**who)

    def get(self, place="", **rest):
        return self.client.get(f"{CONSOLE}{place}", headers=self.headers, **rest)

    def form(self, what, subject="", place=""):
        """The fields of that button's form."""
        parser = _Forms()
        parser.feed(self.get(place).text)
        found = [form for form in parser.forms if (form.get("what"), form.get("subject")) == (what, subject)]
        assert found, f"{place or '/'} has no button {what!r} for {subject!r}"
        return found[0]

    def send(self, form, **fields):
        return self.client.post(f"{CONSOLE}/do", data={**form, **fields}, headers=self.headers)

    def press(self, what, subject="", place="", **fields):
        return self.send(self.form(what, subject, place), **fields)

    def said(self, reply):
        """What the page after a form tells."""
        if reply.status_code == 303:
            reply = self.client.get(reply.headers["Location"], headers=self.headers)
        told = re.search(r'<div class="told[^>]*><p>(.*?)</p>', reply.text, re.DOTALL)
        return unescape(told[1]) if told else ""


def answered(folder, **rest):
    """`service_maker.planned` with alice's three answers."""
    ws = planned(folder, **rest)
    ws.config.annotators.expert = ""
    ws.store.put_judgments(
        [
            Judgment(f"x{i}", "alice", f"p{i}", "A", 4, 6000, annotation_id=i, task_id=10 + i,
                     created_at=f"2026-01-01T10:0{i}:00Z")
            for i in range(3)
        ]
    )  # fmt: skip
    return ws
