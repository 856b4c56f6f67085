"""The baseline with a squared ReLU and no gate, W_o relu(W_u h)^2, with as many weights as the gated MLP.

Source: arXiv:2109.08668; KellerJordan/modded-nanogpt, record 5. Two matrices of 1.5 d_ff have the weights of three of d_ff.
"""

from ngptlab.nn.blocks import SquaredReLU
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
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
    optimizer=AdamW(),
    mlp=SquaredReLU(),
)
