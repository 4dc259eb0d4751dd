# ruff: noqa: B018
# pyright: basic
# %% [markdown]
# # Train the reward model from scratch
#
# From the labels in `preferences.jsonl` and the features in `features.npz`, with numpy and PyTorch only: an ensemble
# like the released model's network is trained on the `train` pairs, stopped by the `validation` pairs, and tested once
# on the `test` pairs. The released model's part on summaries, if it has one, is left out here for brevity. Run it in
# the release's folder. P(a ≻ b) = σ(r_a − r_b) throughout (Bradley and Terry, 1952).
# %%
import copy
import csv
import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import softplus

folder = Path()
settings = json.loads((folder / "training.json").read_text())
pairs = [json.loads(line) for line in (folder / "preferences.jsonl").read_text().splitlines()]
torch.manual_seed(settings["seed"])
settings
# %% [markdown]
# ## Features
#
# One row per step: the frame's features (reduced to principal components), the actions and the state, each about
# standard normal. A trajectory's rows are `offsets[i]:offsets[i + 1]`.
# %%
with np.load(folder / "features.npz") as file:
    data = {name: file[name] for name in file.files}
place = {str(name): number for number, name in enumerate(data["trajectory_ids"])}


def standardized(values):
    """(rows, columns) with mean 0 and standard deviation 1; a constant column becomes 0."""
    mean, sd = np.nanmean(values, axis=0), np.nanstd(values, axis=0)  # nan: another robot's values
    constant = sd <= 1e-6 * np.maximum(1.0, np.abs(mean))
    scaled = (values - mean) * np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, sd))
    return np.nan_to_num(scaled, nan=0.0)


def principal(values, count):
    """(rows, count): the first principal components, all scaled so that the first has variance 1."""
    centred = np.nan_to_num(values - np.nanmean(values, axis=0), nan=0.0)  # nan: a camera that is missing
    variance, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    return centred @ vectors[:, ::-1][:, :count] / math.sqrt(variance[-1])


parts = {
    "frames": lambda: principal(data["frames"].astype(np.float64), settings["projection"]),
    "actions": lambda: standardized(data["actions"].astype(np.float64)),
    "state": lambda: standardized(data["state"].astype(np.float64)),
}
steps = np.concatenate([parts[name]() for name in settings["inputs"]], axis=1).clip(-5, 5)
lengths = np.diff(data["offsets"])
inputs = torch.zeros(len(lengths), int(lengths.max()), steps.shape[1])
mask = torch.zeros(len(lengths), int(lengths.max()), 1)
for i, (start, end) in enumerate(zip(data["offsets"][:-1], data["offsets"][1:], strict=True)):
    inputs[i, : end - start] = torch.from_numpy(steps[start:end])
    mask[i, : end - start] = 1.0
inputs.shape
# %% [markdown]
# ## Pairs
# %%


def tensors(split):
    """Indices of a and b, labels (1 = a, 0 = b, 0.5 = tie) and weights (mean 1, proportional to confidence)."""
    rows = [row for row in pairs if row["split"] == split]
    a, b = (torch.tensor([place[row[f"trajectory_{side}_id"]] for row in rows], dtype=torch.long) for side in "ab")
    label = torch.tensor([row["preference"] for row in rows], dtype=torch.float32)
    weight = torch.tensor([row["confidence_mean"] for row in rows], dtype=torch.float32)
    return a, b, label, weight / weight.mean() if len(rows) else weight


train, validation, test = (tensors(split) for split in ("train", "validation", "test"))
[len(part[0]) for part in (train, validation, test)]
# %% [markdown]
# ## Model
# %%


class Member(nn.Module):
    """Steps → temporal layer → 2-layer MLP on each step → mean over time.

    A transformer is left out here for brevity: the convolution stands in for it.
    """

    def __init__(self, width, hidden, temporal):
        super().__init__()
        self.temporal = None if temporal == "mean" else nn.Conv1d(width, hidden, 3, padding=1)
        self.mlp = nn.Sequential(nn.Linear(hidden if self.temporal else width, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, steps, mask):
        if self.temporal is not None:
            steps = torch.relu(self.temporal((steps * mask).transpose(1, 2))).transpose(1, 2)
        return ((self.mlp(steps) * mask).sum(1) / mask.sum(1))[:, 0]


def pair_loss(x, label):
    """Negative log-likelihood of x = r_a − r_b; a tie counts half for each side, unless `ties` says otherwise.

    Davidson's model is left out here for brevity: its ties are taken as halves too.
    """
    loss = label * softplus(-x) + (1 - label) * softplus(x)
    if settings["ties"] == "drop":
        return torch.where(label == 0.5, torch.zeros_like(loss), loss)
    if settings["ties"] == "margin":
        return torch.where(label == 0.5, softplus(x.abs() - settings["margin"]), loss)
    return loss


def slipped_loss(x, label):
    """The same of people who press the wrong key with probability `slip`; a tie's halves may both be slips."""
    slip = settings["slip"]
    if not slip:
        return pair_loss(x, label)

    def mixed(answer):
        honest = math.log1p(-2 * slip) - pair_loss(x, answer)
        return -torch.logaddexp(honest, torch.full_like(x, math.log(slip)))

    if settings["ties"] in ("soft", "davidson"):
        return label * mixed(torch.ones_like(label)) + (1 - label) * mixed(torch.zeros_like(label))
    return torch.where((label == 0.5) & (settings["ties"] == "drop"), torch.zeros_like(x), mixed(label))


def difference(member, part, rows=None):
    a, b = (part[0], part[1]) if rows is None else (part[0][rows], part[1][rows])
    seen, index = torch.unique(torch.cat([a, b]), return_inverse=True)
    rewards = member(inputs[seen], mask[seen])
    return rewards[index[: len(a)]] - rewards[index[len(a) :]]


def right(x, label):
    """Of the pairs that are no ties, which are ranked as people ranked them."""
    return (x > 0)[label != 0.5] == (label == 1.0)[label != 0.5]


# %% [markdown]
# ## Training
# %%


def fit(seed):
    """A member, as it was at its lowest validation loss."""
    torch.manual_seed(seed)
    member = Member(inputs.shape[2], settings["hidden"], settings["temporal"])
    optimizer = torch.optim.Adam(
        member.parameters(), lr=settings["learning_rate"], weight_decay=settings["weight_decay"]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings["epochs"])
    best, kept, waited = math.inf, copy.deepcopy(member.state_dict()), 0
    for _ in range(settings["epochs"]):
        for rows in torch.randperm(len(train[0])).split(settings["batch_pairs"]):
            loss = (train[3][rows] * slipped_loss(difference(member, train, rows), train[2][rows])).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        with torch.no_grad():
            watched = validation if len(validation[0]) else train
            value = float(slipped_loss(difference(member, watched), watched[2]).mean())
        best, waited = (value, 0) if value < best else (best, waited + 1)
        if waited == 0:
            kept = copy.deepcopy(member.state_dict())
        if waited >= settings["patience"]:
            break
    member.load_state_dict(kept)
    return member


members = [fit(settings["seed"] + number) for number in range(settings["members"])]
# %% [markdown]
# ## Test
#
# Against the released model on the same pairs; its rewards are in `rewards.csv`. The interval is the card's, 95 %.
# %%
with torch.no_grad():
    scratch = right(sum(difference(member, test) for member in members), test[2]).numpy()
with (folder / "rewards.csv").open(newline="") as file:
    rewards = {row["trajectory_id"]: float(row["reward"]) for row in csv.DictReader(file)}
ids = [str(name) for name in data["trajectory_ids"]]
released = torch.tensor([rewards[ids[a]] - rewards[ids[b]] for a, b in zip(test[0], test[1], strict=True)])
shipped = right(released, test[2]).numpy()
n = len(shipped)
card = json.loads((folder / "validation.json").read_text())["ranking_accuracy"]
low, high = (card["low"], card["high"]) if n else (0.0, 1.0)
result = {
    "test_pairs": n,
    "from_scratch": float(scratch.mean()) if n else None,
    "released_model": float(shipped.mean()) if n else None,
    "interval": [round(low, 4), round(high, 4)],
    "within": bool(n == 0 or low <= scratch.mean() <= high),
    "not_worse": bool(n == 0 or low <= scratch.mean()),
}
print(json.dumps(result))
