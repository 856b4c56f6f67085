"""Register exported models with `transformers`, so that none of their own code has to be trusted. Importing is enough."""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForCausalLM

from ngptlab.export.modeling_ngptlab import NgptlabConfig, NgptlabForCausalLM

AutoConfig.register(NgptlabConfig.model_type, NgptlabConfig, exist_ok=True)
AutoModelForCausalLM.register(NgptlabConfig, NgptlabForCausalLM, exist_ok=True)
