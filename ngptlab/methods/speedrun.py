"""The baseline with what nanoGPT speedruns agree on: normed queries and keys, squared ReLU, zero starts, soft cap, Muon.

Source: KellerJordan/modded-nanogpt, records 3 to 18, as far as they are separate ideas of a file each here: `qk_norm`, `relu2`,
`zero_init`, `softcap` and `muon`. Its batches, windows, value embeddings, skips, norm of the embedding and factor on attention
scores are left out.
"""

from ngptlab.nn.blocks import SquaredReLU
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import MuonInBlocks
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, NormRotate, RMSNorm, SoftCap, SwiGLU
from ngptlab.nn.structure import ZeroWriters

METHOD = Parts(
    norm=RMSNorm(),
    after_step=FreeWeights(),
    residual=Add(),
    attn_scale=HeadWidthPower(-0.5),
    qk=NormRotate(),
    gate=SwiGLU(),
    logits=SoftCap(),
    weight_decay=0.1,
    warmup_steps=200,
    optimizer=MuonInBlocks(),
    init=ZeroWriters(),
    mlp=SquaredReLU(),
)
