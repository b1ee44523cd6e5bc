"""Capture of PyTorch modules: one run on the meta device, nothing patched, nothing changed."""

from fieldwise.capture.torch.capture import capture as capture
from fieldwise.capture.torch.example import as_example as as_example
from fieldwise.capture.torch.example import as_inputs as as_inputs
from fieldwise.capture.torch.example import meta_tensor as meta_tensor
from fieldwise.capture.torch.given import check_model as check_model
