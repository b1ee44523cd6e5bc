"""The page's arithmetic, in a browser, on architectures that people use."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fieldwise import receptive_fields
from fieldwise.capture import load_model
from fieldwise.see import view
from tests.see.asking import Questions, check_answers

ANSWERED = (Path(__file__).parent / "answered.mjs").read_text().removeprefix("export ")
TORCHVISION = (
    "alexnet convnext_tiny deeplabv3_mobilenet_v3_large deeplabv3_resnet50 densenet121 "
    "efficientnet_b0 efficientnet_v2_s fcn_resnet50 googlenet inception_v3 "
    "lraspp_mobilenet_v3_large maxvit_t mnasnet0_5 mobilenet_v2 mobilenet_v3_small r3d_18 "
    "mvit_v2_s regnet_x_400mf regnet_y_400mf "
    "resnet152 resnet18 resnext50_32x4d shufflenet_v2_x1_0 squeezenet1_1 swin3d_t swin_t swin_v2_t "
    "vgg11_bn vit_b_16 wide_resnet50_2"
).split()
TIMM = (
    "coatnet_0_rw_224 convmixer_768_32 cspresnet50 darknet53 dla34 edgenext_small "
    "hrnet_w18_small mixer_b16_224 poolformer_s12 repvgg_a2 res2net50_26w_4s selecsls42b "
    "visformer_tiny xception41"
).split()
MODELS = [*(f"torchvision:{name}" for name in TORCHVISION), *(f"timm:{name}" for name in TIMM)]


@pytest.mark.slow
@pytest.mark.parametrize("spec", MODELS)
def test_an_architecture_is_answered_as_the_report_does(spec, opened):
    pytest.importorskip(spec.partition(":")[0])
    model = load_model(spec, weights=False)
    report = receptive_fields(model.source, model.example())
    page = view(report, names=[spec])
    assert len(page.html) < 2_000_000
    questions = Questions.drawn(report, random.Random(spec), units=10, who=1)
    ask = (
        f"(asked) => {{ {ANSWERED}"
        "return answered(fieldwise.networks[0], fieldwise.numbersOf, asked); }"
    )
    answers = opened(page).evaluate(ask, questions.plain())
    assert check_answers(report, questions, answers) > 10
