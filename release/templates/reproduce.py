# ruff: noqa: B018
# pyright: basic
# %% [markdown]
# # Train the reward model from scratch
#
# From the labels in `preferences.jsonl` and the features in `features.npz`, with numpy and PyTorch: an ensemble
# like the released model's network is trained on the `train` pairs, stopped by the `validation` pairs, and tested once
# on the `test` pairs, with a linear model beside it where the released reward has one. Where the released model learned
# each annotator's reliability, so does this (it reads `judgments.parquet`, with pyarrow). What is not trained here is
# said below. Run it in the release's folder.
# P(a ≻ b) = σ(r_a − r_b) throughout (Bradley and Terry, 1952).
# %%
import copy
import csv
import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import layer_norm, logsigmoid, scaled_dot_product_attention, softplus

folder = Path()
settings = json.loads((folder / "training.json").read_text())
pairs = [json.loads(line) for line in (folder / "preferences.jsonl").read_text().splitlines()]
crowd = settings["reliability"] == "crowd_bt"
left_out = [name for name in settings["parts"] if name != "network"]
if left_out:
    print(f"NOT TRAINED HERE: the released reward's part on summaries ({', '.join(left_out)}); its network alone is.")
if "network" not in settings["parts"]:
    print("The released reward has no network: what follows is another kind of model on the same labels.")
if settings["encoder_saw_labels"]:
    print("NOT TRAINED HERE: the encoder, which was fine-tuned on the labels; its features are taken as they are.")
if settings["weak_pairs"]:
    print("NOT TRAINED HERE: what the released model learned from the pool's quality, which counts as a few labels.")
if settings["outcomes"]:
    print(f"NOT TRAINED HERE: {' and '.join(settings['outcomes'])}, which the released model says of each step.")
    if "progress" in settings["linear_in"]:
        print("Progress counts in the reward: below it is taken as the released model says it.")
torch.manual_seed(settings["seed"])
settings
# %% [markdown]
# ## Features
#
# One row per step: the frame's features, projected as the released model does (onto directions that were found without
# a label), the actions and the state, each about standard normal. A trajectory's rows are `offsets[i]:offsets[i + 1]`.
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


def projected(values):
    """(rows, count): the few numbers of a frame that the model looks at; nan: a camera that is missing."""
    return np.nan_to_num(values - data["frame_mean"], nan=0.0) @ data["frame_projection"]


parts = {
    "frames": lambda: projected(data["frames"].astype(np.float64)),
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


def answers(split):
    """The same of each annotator's own answers, with the annotator's number; a pair's second showing does not count."""
    from pyarrow import parquet

    own = {row["pair_id"] for row in pairs if row["split"] == split}
    rows = [
        row
        for row in parquet.read_table(folder / "judgments.parquet").to_pylist()
        if row["pair_id"] in own and not row["is_duplicate"]
    ]
    a, b = (torch.tensor([place[row[f"trajectory_{side}_id"]] for row in rows], dtype=torch.long) for side in "ab")
    label = torch.tensor([{"A": 1.0, "B": 0.0, "equal": 0.5}[row["preference"]] for row in rows])
    weight = torch.tensor([float(row["confidence"]) for row in rows])
    people = sorted({row["annotator_id"] for row in rows})
    who = torch.tensor([people.index(row["annotator_id"]) for row in rows], dtype=torch.long)
    return a, b, label, weight / weight.mean(), who


train, validation, test = (tensors(split) for split in ("train", "validation", "test"))
if crowd:
    train = answers("train")
[len(part[0]) for part in (train, validation, test)]
# %% [markdown]
# ## Model
# %%


RIGHT, WRONG = 8.0, 2.0  # every annotator starts as if seen to be so often (Crowd-BT, Chen et al. 2013)


def rotated(x):
    """(..., T, d), turned by an angle that grows with the step: products of two depend on their distance alone."""
    half = x.shape[-1] // 2
    rates = 100.0 ** (-torch.arange(half) / max(1, half))
    angle = torch.arange(x.shape[-2]).unsqueeze(-1) * rates
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([first * angle.cos() - second * angle.sin(), first * angle.sin() + second * angle.cos(), rest], -1)


class Attention(nn.Module):
    """One block of attention over all steps (Vaswani et al. 2017), with rotary positions (Su et al. 2021)."""

    def __init__(self, width, hidden):
        super().__init__()
        self.heads = next(n for n in (4, 2, 1) if hidden % (2 * n) == 0 or n == 1)
        sizes = {"enter": (width, 1), "attend": (hidden, 3), "merge": (hidden, 1), "widen": (hidden, 2)}
        for name, (inputs_of, times) in sizes.items():
            setattr(self, name, nn.Linear(inputs_of, times * hidden, bias=False))
        self.narrow = nn.Linear(2 * hidden, hidden, bias=False)

    def forward(self, steps, mask):
        x = self.enter(steps)
        parts = self.attend(layer_norm(x, x.shape[-1:])).chunk(3, dim=-1)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        seen = mask.transpose(1, 2).unsqueeze(1) > 0
        found = scaled_dot_product_attention(rotated(q), rotated(k), v, attn_mask=seen)
        x = x + self.merge(found.transpose(1, 2).flatten(2))
        return x + self.narrow(torch.relu(self.widen(layer_norm(x, x.shape[-1:]))))


class Convolution(nn.Module):
    """Each step with its two neighbours."""

    def __init__(self, width, hidden):
        super().__init__()
        self.over_time = nn.Conv1d(width, hidden, 3, padding=1)

    def forward(self, steps, mask):
        return torch.relu(self.over_time((steps * mask).transpose(1, 2))).transpose(1, 2)


class Member(nn.Module):
    """Steps → temporal layer → 2-layer MLP on each step → mean over time."""

    def __init__(self, width, hidden, temporal, people=0):
        super().__init__()
        layer = {"mean": None, "conv1d": Convolution, "transformer": Attention}[temporal]
        self.temporal = layer(width, hidden) if layer else None
        self.mlp = nn.Sequential(nn.Linear(hidden if layer else width, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.log_nu = nn.Parameter(torch.zeros(()))  # of Davidson's ties
        self.log_odds = nn.Parameter(torch.full((people,), math.log(RIGHT / WRONG)))  # that a person means it

    def forward(self, steps, mask):
        if self.temporal is not None:
            steps = self.temporal(steps, mask)
        return ((self.mlp(steps) * mask).sum(1) / mask.sum(1))[:, 0]


def pair_loss(x, label, log_nu):
    """Negative log-likelihood of x = r_a − r_b; what a tie is depends on `ties`, by default half for each side."""
    loss = label * softplus(-x) + (1 - label) * softplus(x)
    tie = label == 0.5
    if settings["ties"] == "davidson":  # three answers: A, B and equal (Davidson 1970)
        logits = torch.stack([0.5 * x, -0.5 * x, (math.log(2.0) + log_nu).expand_as(x)])
        return torch.logsumexp(logits, dim=0) - torch.where(tie, logits[2], (label - 0.5) * x)
    if settings["ties"] == "drop":
        return torch.where(tie, torch.zeros_like(loss), loss)
    if settings["ties"] == "margin":
        return torch.where(tie, softplus(x.abs() - settings["margin"]), loss)
    return loss


def slipped_loss(x, label, log_nu):
    """The same of people who press a wrong key with probability `slip`; a soft tie's halves may both be slips."""
    slip = settings["slip"]
    if not slip:
        return pair_loss(x, label, log_nu)
    others = 2 if settings["ties"] == "davidson" else 1

    def mixed(answer):
        honest = math.log1p(-slip * (1 + 1 / others)) - pair_loss(x, answer, log_nu)
        return -torch.logaddexp(honest, torch.full_like(x, math.log(slip / others)))

    if settings["ties"] == "soft":
        return label * mixed(torch.ones_like(label)) + (1 - label) * mixed(torch.zeros_like(label))
    return torch.where((label == 0.5) & (settings["ties"] == "drop"), torch.zeros_like(x), mixed(label))


def crowd_loss(x, label, log_nu, log_odds):
    """Of single answers, whose annotators mean them with a probability that is learned too."""
    honest, swapped = pair_loss(x, label, log_nu), pair_loss(x, 1 - label, log_nu)
    return -torch.logaddexp(logsigmoid(log_odds) - honest, logsigmoid(-log_odds) - swapped)


def training_loss(member, rows):
    x, label, weight = difference(member, train, rows), train[2][rows], train[3][rows]
    if not crowd:
        return (weight * slipped_loss(x, label, member.log_nu)).mean()
    prior = RIGHT * softplus(-member.log_odds) + WRONG * softplus(member.log_odds)
    share = len(rows) / len(train[0])  # the prior counts once an epoch, as each answer does
    losses = weight * crowd_loss(x, label, member.log_nu, member.log_odds[train[4][rows]])
    return (losses.sum() + share * prior.sum()) / len(rows)


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
    people = int(train[4].max()) + 1 if crowd else 0
    member = Member(inputs.shape[2], settings["hidden"], settings["temporal"], people)
    weights = [value for name, value in member.named_parameters() if name not in ("log_nu", "log_odds")]
    groups = [{"params": weights, "weight_decay": settings["weight_decay"]}, {"params": [member.log_nu]}]
    # a log odds has to travel some units in a few hundred steps, a weight some hundredths
    groups += [{"params": [member.log_odds], "lr": 30 * settings["learning_rate"]}] if crowd else []
    optimizer = torch.optim.Adam(groups, lr=settings["learning_rate"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings["epochs"])
    best, kept, waited = math.inf, copy.deepcopy(member.state_dict()), 0
    for _ in range(settings["epochs"]):
        for rows in torch.randperm(len(train[0])).split(settings["batch_pairs"]):
            loss = training_loss(member, rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        with torch.no_grad():
            watched = validation if len(validation[0]) else train
            value = float(slipped_loss(difference(member, watched), watched[2], member.log_nu).mean())
        best, waited = (value, 0) if value < best else (best, waited + 1)
        if waited == 0:
            kept = copy.deepcopy(member.state_dict())
        if waited >= settings["patience"]:
            break
    member.load_state_dict(kept)
    return member


members = [fit(settings["seed"] + number) for number in range(settings["members"])]
with torch.no_grad():
    reward = sum(member(inputs, mask) for member in members)
# %% [markdown]
# ## The linear part
#
# So much of the released reward (`linear` in `training.json`) is linear in means over a trajectory's steps: of the
# inputs and their squares, of progress, or of both (`linear_in`). The penalty on inputs and squares is what is best on
# the validation pairs; the released model has a prior of each. Progress is the released model's. What it counts has one
# normal prior here (`progress_expected`): the mean and the standard deviation of the released model's two together.
# %%


def standard(values):
    """Mean 0 and standard deviation 1."""
    return (values - values.mean(0)) / values.std(0).clamp(min=1e-6)


def linear_loss(weights, part):
    return slipped_loss(basis[part[0]] @ weights - basis[part[1]] @ weights, part[2], torch.zeros(()))


def fit_linear(penalty):
    """The weights of the columns of `basis`."""
    weights = expected.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        prior = torch.where(firmness > 0, firmness, penalty) * (weights - expected) ** 2
        loss = (train[3] * linear_loss(weights, train)).sum() + prior.sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach()


if settings["linear"]:
    columns = []
    if "inputs" in settings["linear_in"]:
        columns.append(standard((torch.cat([inputs, inputs**2], dim=2) * mask).sum(1) / mask.sum(1)))
    if "progress" in settings["linear_in"]:
        columns.append(torch.tensor(data["progress"], dtype=torch.float32).unsqueeze(1))
    basis = torch.cat(columns, dim=1)
    expected, firmness = torch.zeros(2, basis.shape[1])
    if "progress" in settings["linear_in"]:
        expected[-1], sd = settings["progress_expected"]
        firmness[-1] = 0.5 / sd**2
    watched = validation if len(validation[0]) else train
    fits = [fit_linear(penalty) for penalty in (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)]
    best = min(fits, key=lambda weights: float(linear_loss(weights, watched).mean()))
    reward = settings["linear"] * standard(basis @ best) + (1 - settings["linear"]) * standard(reward)
# %% [markdown]
# ## Test
#
# Against the released model on the same pairs; its rewards are in `rewards.csv`. The interval is the card's, 95 %.
# %%
scratch = right(reward[test[0]] - reward[test[1]], test[2]).numpy()
with (folder / "rewards.csv").open(newline="") as file:
    rewards = {row["trajectory_id"]: float(row["reward"]) for row in csv.DictReader(file)}
ids = [str(name) for name in data["trajectory_ids"]]
released = torch.tensor([rewards[ids[a]] - rewards[ids[b]] for a, b in zip(test[0], test[1], strict=True)])
shipped = right(released, test[2]).numpy()
n = len(shipped)
card = json.loads((folder / "validation.json").read_text())["ranking_accuracy"]
low, high = (card["low"], card["high"]) if n else (0.0, 1.0)
result = {
    "trained_alike": not left_out and not settings["weak_pairs"],
    "test_pairs": n,
    "from_scratch": float(scratch.mean()) if n else None,
    "released_model": float(shipped.mean()) if n else None,
    "interval": [round(low, 4), round(high, 4)],
    "within": bool(n == 0 or low <= scratch.mean() <= high),
    "not_worse": bool(n == 0 or low <= scratch.mean()),
}
print(json.dumps(result))
