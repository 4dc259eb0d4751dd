"""Annotations and webhooks as nobody's browser sends them."""

KEYS = ("id", "task", "result", "value", "choices", "text", "from_name", "type", "completed_by", "lead_time", "\0")
WORDS = ("preference", "confidence", "reason", "left", "choices", "", "4", "\x1b[2J", "\ud800", "x" * 3000)
NUMBERS = (0, -1, 1, 2**31, 2**70, 10**400, 1e308, 0.5, True, None)


def any_json(rng, depth=4):
    """Something that JSON can say, often with the names that answers have."""
    kind = rng.random() if depth else 0.5 * rng.random()
    if kind < 0.25:
        return rng.choice(NUMBERS)
    if kind < 0.5:
        return rng.choice(WORDS)
    if kind < 0.7:
        return [any_json(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(KEYS): any_json(rng, depth - 1) for _ in range(rng.randrange(5))}


def odd(rng, number, task):
    """An annotation that Label Studio may have stored of `task`, and the body of a webhook that tells of anything."""
    body = any_json(rng)
    own = body if isinstance(body, dict) else {"result": body}
    stored = {"result": [any_json(rng) for _ in range(rng.randrange(4))], **own, "id": number, "task": task}
    action = rng.choice(["ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED", body])
    return stored, {"action": action, "annotation": body, "annotations": body, "task": rng.choice([task, body])}
