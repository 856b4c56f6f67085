"""The baseline with Muon for the matrices of its blocks.

Source: github.com/KellerJordan/Muon; AdamW keeps embedding, head and scales, and updates have AdamW's size
(arXiv:2502.16982), so that one learning rate serves both.
"""

from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import MuonInBlocks
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU

METHOD = Parts(
    norm=RMSNorm(),
    after_step=FreeWeights(),
    residual=Add(),
    attn_scale=HeadWidthPower(-0.5),
    qk=Rotate(),
    gate=SwiGLU(),
    logits=PlainLogits(),
    weight_decay=0.1,
    warmup_steps=200,
    optimizer=MuonInBlocks(),
)
