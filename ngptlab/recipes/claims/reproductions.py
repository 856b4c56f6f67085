"""Claims of those who came after: Nous Research's reproduction, and nuGPT (arXiv:2604.27077)."""

from ngptlab.claims.claim import Claim, Needs, Pair, Source
from ngptlab.claims.rules import RateMoves, SavesTokens, StepTakes

PAIR: Pair = {"method": "ngpt", "baseline": "gpt"}
NOUS = "0.5B parameters, OpenWebText, float32 parameters, a run a point"
LONG = 10**9
"""Tokens from which a factor that grows with them is compared; our reading."""
WIDTHS = "0.26B to 3.2B parameters, FineWeb-Edu, context 4,096, 80k steps"

SOURCE = Source(
    title="Reproductions and follow-ups",
    where="github.com/JoeLi12345/nGPT and arXiv:2604.27077",
    claims=(
        Claim(
            id="nous-saves-1k",
            statement="At a context of 1k GPT needs 1.5 to 2 times the tokens for nGPT's loss.",
            source="Nous Research, README",
            scale=f"{NOUS}, 12.5B to 200B tokens, context 1,024",
            rule=SavesTokens(**PAIR, low=1.5, high=2.0),
            needs=Needs(context=1024, tokens=LONG),
        ),
        Claim(
            id="nous-saves-4k",
            statement="At a context of 4k GPT needs about 4 times the tokens for nGPT's loss.",
            source="Nous Research, README; 3 to 5 is our reading",
            scale=f"{NOUS}, 200B tokens, context 4,096",
            rule=SavesTokens(**PAIR, low=3.0, high=5.0),
            needs=Needs(context=4096, tokens=LONG),
        ),
        Claim(
            id="nous-step-time",
            statement="At a context of 1k a step of nGPT takes 1.17 times GPT's.",
            source="Nous Research, figure; 1.12 to 1.22 is our reading",
            scale="0.5B parameters, 100B tokens, context 1,024, 8 H100",
            rule=StepTakes(**PAIR, low=1.12, high=1.22, gpu=True),
            needs=Needs(context=1024),
        ),
        Claim(
            id="nugpt-sp-rate",
            statement="nGPT's best learning rate drifts down with width.",
            source="nuGPT; 'down' from its rules, and 0.25 powers of two per doubling or more is our reading",
            scale=WIDTHS,
            rule=RateMoves(method="ngpt", param="sp", low=-float("inf"), high=-0.25),
        ),
        Claim(
            id="nugpt-rate",
            statement="Under nuGPT's rules the best learning rate stays over width.",
            source="nuGPT; within 0.25 powers of two per doubling is our reading of 'stays'",
            scale=WIDTHS,
            rule=RateMoves(method="ngpt", param="nugpt", low=-0.25, high=0.25),
        ),
    ),
)
