"""Are the answers good? Agreement, certification, flags, gate, resolution, report; on anybody's judgments."""
