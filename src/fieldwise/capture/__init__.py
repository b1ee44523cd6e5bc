"""Networks in, graphs out: from torch modules, written layer lists and the names of models."""

from fieldwise.capture.layer_list import LayerSpec as LayerSpec
from fieldwise.capture.layer_list import parse_layers as parse_layers
from fieldwise.capture.layers import layers_graph as layers_graph
from fieldwise.capture.specs import Model as Model
from fieldwise.capture.specs import load_model as load_model
