"""Operators that are not supported, and why: what has no field, or none that stays."""

from __future__ import annotations

from fieldwise.capture.onnx.registry import refuses

refuses(
    "it draws random numbers",
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)
refuses(
    "it works on text",
    "RegexFullMatch",
    "StringConcat",
    "StringNormalizer",
    "StringSplit",
)
refuses("it counts words", "TfIdfVectorizer")
refuses("it decodes a compressed image", "ImageDecoder")
refuses(
    "it is a step of training",
    "Adagrad",
    "Adam",
    "Gradient",
    "Momentum",
    domain="ai.onnx.preview.training",
)
refuses(
    "it works on text or dictionaries",
    "CastMap",
    "CategoryMapper",
    "DictVectorizer",
    "LabelEncoder",
    "OneHotEncoder",
    "ZipMap",
    domain="ai.onnx.ml",
)
refuses(
    "it is no neural network",
    "LinearClassifier",
    "SVMClassifier",
    "SVMRegressor",
    "TreeEnsemble",
    "TreeEnsembleClassifier",
    "TreeEnsembleRegressor",
    domain="ai.onnx.ml",
)
