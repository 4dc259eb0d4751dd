"""Ways out of Robopref other than the release: the source dataset with rewards, and pairs for preference optimization.

Each is one public function from a `Workspace` to files: `lerobot.export_lerobot` and `dpo.export_dpo`.
"""
