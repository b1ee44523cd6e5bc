"""How the weights that a zoo publishes come into a file: a command, which fieldwise never runs."""

from __future__ import annotations

from fieldwise.capture.arguments import split_call


def command_for(spec: str) -> str | None:
    """What writes trained weights of a zoo's model to a file; None where none are published
    for it, or with arguments, which published weights need not fit.

    >>> print(command_for("torchvision:resnet18"))
    python -c "import torchvision, safetensors.torch as st; st.save_model(torchvision.models.\
get_model('resnet18', weights='DEFAULT'), 'resnet18.safetensors')"
    >>> command_for("layers:conv3")
    """
    zoo, _, name = spec.partition(":")
    if split_call(name)[1]:
        return None
    if zoo == "torchvision":
        made = f"torchvision.models.get_model({name!r}, weights='DEFAULT')"
    elif zoo == "timm" and _is_published(name):
        made = f"timm.create_model({name!r}, pretrained=True)"
    else:
        return None
    file = f"{name}.safetensors"
    return f'python -c "import {zoo}, safetensors.torch as st; st.save_model({made}, {file!r})"'


def _is_published(name: str) -> bool:
    import timm

    return bool(timm.is_model_pretrained(name))
