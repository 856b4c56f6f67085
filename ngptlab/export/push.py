"""Send an exported folder to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi

from ngptlab.errors import ConfigError, without_secrets


def push(folder: Path, repo: str, *, public: bool) -> str:
    """Upload the folder as one commit and return the repository's address. A missing repository is made.

    A new repository is private unless `public`. An existing one keeps its visibility.

    Raises:
        ConfigError: the hub can't be reached, or refuses.
    """
    api = HfApi()
    try:
        address = api.create_repo(repo, private=not public, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=repo, commit_message="Model exported by ngptlab")
    # Errors come from the hub, from the system, and from whichever HTTP client the hub's library uses.
    except Exception as error:
        reason = " ".join(without_secrets(str(error)).split())[:300] or type(error).__name__
        raise ConfigError(
            f"--push {repo}: not sent ({reason}); {folder} is whole: log in with `hf auth login` where that is what is "
            f"missing, then `hf upload {repo} {folder}`"
        ) from None
    return str(address)
