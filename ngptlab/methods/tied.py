"""The baseline with one matrix for embedding and head.

Source: arXiv:1608.05859. The matrix is drawn and trained as an embedding. The method has fewer weights than the baseline, and as
many operations.
"""

from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU
from ngptlab.nn.structure import TiedHead

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
    optimizer=AdamW(),
    head=TiedHead(),
)
