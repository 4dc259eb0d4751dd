"""Rewards and preferences in the formats of other tools, each one public function from a `Workspace` to files.

- `lerobot.export_lerobot(ws, folder)`: a LeRobot dataset of the pool with the model's rewards, as lerobot loads it.
- `dpo.export_dpo(ws, path)`: chosen and rejected trajectories as JSON Lines (DPO: Rafailov et al. 2023).
"""
