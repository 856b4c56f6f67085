# %% [markdown]
# # A method of your own against GPT
#
# This takes about a minute on two CPU cores. It needs no network, and the extra `pandas`. `make notebook` runs it
# and keeps what it printed.

# %%
import json
import textwrap
from pathlib import Path

import pandas

import ngptlab

# %% [markdown]
# ## The method is a file
#
# It takes the table of `gpt` and fills one part of it anew: the gate of the MLP, here with ReLU in place of SiLU
# (arXiv:2002.05202). `ngptlab new my_gate --from gpt` writes such a file with every part and what it is.

# %%
METHOD = '''"""The baseline with ReLU in place of SiLU in the gate, W_o (u * ReLU(v)).

Source: arXiv:2002.05202 (ReGLU).
"""

from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor

from ngptlab.config import Dims
from ngptlab.methods import gpt
from ngptlab.nn.parts import Gate


@dataclass(frozen=True)
class ReLUGate:
    """u * ReLU(v)."""

    def build(self, dims: Dims) -> Gate:
        return _ReLUGate()


class _ReLUGate(Gate):
    channelwise = True

    def forward(self, u_BTF: Tensor, v_BTF: Tensor) -> Tensor:
        return u_BTF * F.relu(v_BTF)


METHOD = replace(gpt.METHOD, gate=ReLUGate())
'''
_ = Path("my_gate.py").write_text(METHOD)

# %% [markdown]
# ## Train both
#
# Both methods see the same batches in the same order, with three seeds. The sizes are smaller than the demo's, so
# that it takes a minute. The text is the source of Python's standard library, as bytes.
#
# The demo has settings that a search found for `gpt`, and none for a new method. A method without them would lose
# for that reason alone, so both get those of `gpt` here. `ngptlab try ./my_gate.py` does the same by itself.

# %%
SIZES = {
    "model": {"num_layers": 2, "num_heads": 2, "d_model": 64},
    "train": {"steps": 100, "batch_size": 16, "context": 64},
    "eval": {"every": 20, "val_tokens": 16384},
    "data": {"source": "stdlib"},
    "optim": {"lr": 2**-8, "weight_decay": 0.3, "init": "std:0.1"},
    "device": {"kind": "cpu", "threads": 1},  # models of this size gain nothing from a second thread
}
page = ngptlab.compare(
    "demo", methods=["gpt", "./my_gate.py"], seeds=3, out="out/my_gate", overrides=SIZES, quiet=True
)
headline = json.loads(page.with_suffix(".json").read_text())["headline"]
print(textwrap.fill(headline, 90))

# %% [markdown]
# Nobody tuned either method at this size, so this is a first look and no finding. `page` is the page of the
# comparison, with warnings that say so. `ngptlab try` asks within a budget of time whether a method is better,
# with a test, and `ngptlab sweep --search` tunes both alike.

# %% [markdown]
# ## The numbers
#
# Each run is a folder, and its numbers are frames of pandas.

# %%
runs = [ngptlab.Run(path) for path in sorted(Path("out/my_gate/runs").iterdir())]
names = {run: run.config.method.partition("@")[0] for run in runs}
evals = pandas.concat(
    run.evals().assign(method=name, seed=run.config.seed)[["method", "seed", "step", "loss_nats"]]
    for run, name in names.items()
)
losses = evals.pivot_table(index="step", columns="method", values="loss_nats", aggfunc=["mean", "std"])
losses.round(4)

# %% [markdown]
# Differences of equal seeds scatter less than the losses do, because both arms of a pair saw the same batches.

# %%
last = evals[evals["step"] == evals["step"].max()].pivot(index="seed", columns="method", values="loss_nats")
last.assign(difference=last["my_gate"] - last["gpt"]).round(4)

# %% [markdown]
# ## A run's curve

# %%
mine = next(run for run, name in names.items() if name == "my_gate")
mine.plot()

# %% [markdown]
# ## What it writes
#
# After so few steps it knows letters, words and indents at best.

# %%
print(ngptlab.load(mine).generate("def ", max_tokens=160, temperature=0.7, seed=1))
