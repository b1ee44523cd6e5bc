"""Decoders, vocoders, separators, video autoencoders and volume networks, of small width.

Each case builds its network without weights, as the package that carries it does, and says what
is streamed: the shape of an example, and the axis along which it grows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Case:
    """A network and what it is given.

    name:    as it stands in the table
    build:   makes the network; the package is imported then
    shape:   of the whole input
    axis:    along which it is streamed
    band:    input rows per step
    options: of ``streamed``
    warm:    so many rows are run before anything is measured; 0 where there is one size only
    rate:    input samples per second, for latencies in milliseconds; None for what is not in time
    """

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    axis: int
    band: int
    options: dict[str, Any]
    rate: float | None
    warm: int


CASES: list[Case] = []


def case(
    name: str,
    *shape: int,
    axis: int,
    band: int,
    rate: float | None = None,
    warm: int | None = None,
    **options: Any,
) -> Callable[[Callable[[], nn.Module]], Callable[[], nn.Module]]:
    """Enter what the function builds into the table."""

    def entered(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        rows = shape[axis] // 4 if warm is None else warm
        CASES.append(Case(name, build, shape, axis, band, options, rate, rows))
        return build

    return entered


class Calling(nn.Module):
    """A model whose forward pass is a method of another, or a function of its parts."""

    def __init__(self, model: nn.Module, call: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        """What the call returns."""
        return self.call(self.model, x)


# ------------------------------------------------------------------------------ audio


@case("DAC decoder", 1, 64, 600, axis=-1, band=40, rate=86.1328125)
def dac() -> nn.Module:
    """Kumar et al. (2023), as in transformers."""
    from transformers import DacConfig, DacModel

    config = DacConfig(encoder_hidden_size=8, decoder_hidden_size=128, hidden_size=64)
    return DacModel(config).decoder


@case("EnCodec decoder", 1, 128, 1500, axis=-1, band=100, rate=75)
def encodec() -> nn.Module:
    """Défossez et al. (2022), as in transformers; causal, with two LSTM layers; Bark's too."""
    from transformers import EncodecConfig, EncodecModel

    return EncodecModel(EncodecConfig(num_filters=8)).decoder


@case("Mimi decoder", 1, 64, 240, axis=-1, band=16, rate=12.5)
def mimi() -> nn.Module:
    """Défossez et al. (2024), as in transformers; a causal transformer with a window before it."""
    from transformers import MimiConfig, MimiModel

    config = MimiConfig(
        hidden_size=64, num_filters=8, num_hidden_layers=2, intermediate_size=64,
        num_attention_heads=2, num_key_value_heads=2, head_dim=32, sliding_window=50,
        upsample_groups=64,
    )  # fmt: skip

    def decoded(decoder: Any, x: Tensor) -> Tensor:
        hidden = decoder.decoder_transformer(decoder.upsample(x).mT)[0]
        x = hidden.mT
        for layer in decoder.decoder_seanet.layers:
            x = layer(x)
        return x

    return Calling(MimiModel(config).decoder, decoded)


@case("Vocos", 1, 40, 16000, axis=-1, band=1000, rate=93.75)
def vocos() -> nn.Module:
    """Siuzdak (2023): a ConvNeXt backbone, then an inverse STFT."""
    from vocos.heads import ISTFTHead
    from vocos.models import VocosBackbone

    backbone = VocosBackbone(input_channels=40, dim=64, intermediate_dim=128, num_layers=4)
    return nn.Sequential(backbone, ISTFTHead(dim=64, n_fft=256, hop_length=64, padding="same"))


@case("SpeechT5 HiFi-GAN", 1, 1600, 20, axis=1, band=100, rate=62.5)
def hifigan() -> nn.Module:
    """Kong et al. (2020), as in transformers."""
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    config = SpeechT5HifiGanConfig(
        model_in_dim=20, upsample_initial_channel=64, initializer_range=0.1
    )
    return SpeechT5HifiGan(config)


@case("VITS decoder", 1, 32, 1600, axis=-1, band=100, rate=62.5)
def vits() -> nn.Module:
    """Kim et al. (2021), as in transformers."""
    from transformers import VitsConfig, VitsModel

    config = VitsConfig(flow_size=32, upsample_initial_channel=64, hidden_size=32,
                        num_hidden_layers=1, num_attention_heads=2)  # fmt: skip
    return VitsModel(config).decoder


@case("Conv-TasNet", 1, 1, 160000, axis=-1, band=8000, rate=8000, global_ops="auto")
def conv_tasnet() -> nn.Module:
    """Luo & Mesgarani (2019), as in torchaudio; global layer norms."""
    from torchaudio.models import ConvTasNet

    return ConvTasNet(num_sources=2, enc_num_feats=32, msk_num_feats=16, msk_num_hidden_feats=32,
                      msk_num_layers=4, msk_num_stacks=2)  # fmt: skip


@case("Demucs", 1, 2, 441000, axis=-1, band=22050, rate=44100, global_ops="auto")
def demucs() -> nn.Module:
    """Défossez et al. (2019): a waveform U-Net with a bidirectional LSTM in the middle."""
    from demucs.demucs import Demucs

    return Demucs(["a", "b"], channels=8, depth=4, lstm_layers=2, resample=False, normalize=False)


@case("wav2vec 2.0 front end", 1, 480000, axis=-1, band=32000, rate=16000, global_ops="auto")
def wav2vec() -> nn.Module:
    """Baevski et al. (2020), as in torchaudio; a group norm over all of the signal."""
    from torchaudio.models.wav2vec2.components import _get_feature_extractor

    shapes = [(32, 10, 5)] + [(32, 3, 2)] * 4 + [(32, 2, 2)] * 2
    extractor = _get_feature_extractor("group_norm", shapes, bias=False)
    return Calling(extractor, lambda model, x: model(x, None)[0])


@case("Whisper encoder", 1, 20, 3000, axis=-1, band=100, rate=100, warm=0)
def whisper() -> nn.Module:
    """Radford et al. (2022), as in transformers: attention over all of thirty seconds."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = WhisperConfig(num_mel_bins=20, d_model=32, encoder_layers=2,
                           encoder_attention_heads=2, encoder_ffn_dim=64)  # fmt: skip
    return Calling(WhisperEncoder(config), lambda model, x: model(x).last_hidden_state)


@case("Oobleck decoder", 1, 16, 800, axis=-1, band=50, rate=21.5)
def oobleck() -> nn.Module:
    """AutoencoderOobleck of Stable Audio, as in diffusers: snakes."""
    from diffusers import AutoencoderOobleck

    return AutoencoderOobleck(
        encoder_hidden_size=8, downsampling_ratios=[2, 4, 4], channel_multiples=[1, 2, 4],
        decoder_channels=8, decoder_input_channels=16, audio_channels=2,
    ).decoder  # fmt: skip


@case("BigVGAN of MMAudio", 1, 16, 800, axis=-1, band=50, rate=86)
def bigvgan() -> nn.Module:
    """Lee et al. (2023), as in diffusers: snakes between anti-aliasing filters."""
    from diffusers.models.autoencoders.mmaudio_vocoder import MMAudioVocoder

    model = MMAudioVocoder(16, 64, (4, 2, 2), (8, 4, 4), (3, 7), ((1, 3), (1, 3)))
    return Calling(model, lambda vocoder, x: vocoder(x, return_dict=False)[0])


@case("Parakeet subsampling", 1, 4000, 32, axis=1, band=250, rate=100)
def parakeet() -> nn.Module:
    """The front of FastConformer, as in transformers: strided convolutions over mel frames."""
    from transformers import ParakeetEncoderConfig
    from transformers.models.parakeet.modeling_parakeet import ParakeetEncoderSubsamplingConv2D

    config = ParakeetEncoderConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        num_mel_bins=32, subsampling_conv_channels=8,
    )  # fmt: skip
    return ParakeetEncoderSubsamplingConv2D(config)


# ------------------------------------------------------------------------------ images


@case("TAESD decoder", 1, 4, 128, 64, axis=-2, band=8)
def taesd() -> nn.Module:
    """AutoencoderTiny, as in diffusers."""
    from diffusers import AutoencoderTiny

    widths = (16, 16, 16, 16)
    return AutoencoderTiny(decoder_block_out_channels=widths).decoder


@case("Stable Diffusion VAE decoder", 1, 4, 128, 64, axis=-2, band=16, global_ops="auto")
def autoencoder_kl() -> nn.Module:
    """AutoencoderKL, as in diffusers: group norms, and attention over all of the image."""
    from diffusers import AutoencoderKL

    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 32), layers_per_block=2, norm_num_groups=8, latent_channels=4,
    )  # fmt: skip
    return model.decoder


@case("cellpose", 1, 2, 512, 256, axis=-2, band=64, global_ops="auto")
def cellpose() -> nn.Module:
    """Stringer et al. (2021), the network of cellpose 3: a style vector is a mean of all."""
    from cellpose.resnet_torch import CPnet

    model = CPnet([2, 16, 32, 32, 64], 3, sz=3)
    return Calling(model, lambda net, x: net(x)[0])


# ------------------------------------------------------------------------------ video


@case("Wan VAE decoder", 1, 4, 9, 8, 8, axis=2, band=1, rate=4, global_ops="auto")
def wan() -> nn.Module:
    """AutoencoderKLWan, as in diffusers: frame by frame, with a cache of its own."""
    from diffusers import AutoencoderKLWan

    model = AutoencoderKLWan(base_dim=16, z_dim=4, dim_mult=[1, 2, 2], num_res_blocks=1,
                             temperal_downsample=[True, True],
                             latents_mean=[0.0] * 4, latents_std=[1.0] * 4)  # fmt: skip
    return Calling(model, lambda vae, z: vae.decode(z).sample)


@case("CogVideoX VAE decoder", 1, 4, 16, 16, 16, axis=2, band=4, rate=4, global_ops="auto")
def cogvideox() -> nn.Module:
    """AutoencoderKLCogVideoX, as in diffusers: causal convolutions, group norms over time."""
    from diffusers import AutoencoderKLCogVideoX

    model = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 2, up_block_types=("CogVideoXUpBlock3D",) * 2,
        block_out_channels=(16, 16), latent_channels=4, layers_per_block=1, norm_num_groups=4,
        temporal_compression_ratio=2,
    )  # fmt: skip
    return Calling(model, lambda vae, z: vae.decode(z).sample)


@case("HunyuanVideo VAE decoder", 1, 4, 8, 8, 8, axis=2, band=2, rate=4, global_ops="auto")
def hunyuan() -> nn.Module:
    """AutoencoderKLHunyuanVideo, as in diffusers: a causal attention over frames in the middle."""
    from diffusers import AutoencoderKLHunyuanVideo

    model = AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=(16, 16, 16, 16), layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4,
    )  # fmt: skip
    return Calling(model, lambda vae, z: vae.decode(z).sample)


@case("LTX-Video VAE decoder", 1, 8, 16, 8, 8, axis=2, band=4, rate=4)
def ltx() -> nn.Module:
    """AutoencoderKLLTXVideo, as in diffusers: norms over channels alone."""
    from diffusers import AutoencoderKLLTXVideo

    model = AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(16, 16, 16, 16),
        decoder_block_out_channels=(16, 16, 16, 16), layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
    )  # fmt: skip
    return Calling(model, lambda vae, z: vae.decode(z).sample)


@case("Cosmos VAE decoder", 1, 4, 24, 8, 8, axis=2, band=4, rate=4)
def cosmos() -> nn.Module:
    """AutoencoderKLCosmos, as in diffusers: its first frame is repeated ahead of every layer."""
    from diffusers import AutoencoderKLCosmos

    model = AutoencoderKLCosmos(
        latent_channels=4, encoder_block_out_channels=(8, 16, 16),
        decode_block_out_channels=(16, 16, 16), attention_resolutions=(8,), resolution=64,
        num_layers=1, patch_size=2, spatial_compression_ratio=4, temporal_compression_ratio=4,
    )  # fmt: skip
    return Calling(model, lambda vae, z: vae.decoder(vae.post_quant_conv(z)))


@case("HunyuanVideo 1.5 VAE decoder", 1, 8, 12, 4, 4, axis=2, band=2, rate=4)
def hunyuan15() -> nn.Module:
    """AutoencoderKLHunyuanVideo15, as in diffusers: the first frame is enlarged apart."""
    from diffusers import AutoencoderKLHunyuanVideo15

    model = AutoencoderKLHunyuanVideo15(
        latent_channels=8, block_out_channels=(32, 32, 32, 32), layers_per_block=1,
        spatial_compression_ratio=8, temporal_compression_ratio=4,
    )  # fmt: skip
    return Calling(model, lambda vae, z: vae.decode(z).sample)


@case("Magvit VAE decoder", 1, 4, 9, 8, 8, axis=2, band=1, rate=4, warm=5)
def magvit() -> nn.Module:
    """AutoencoderKLMagvit of EasyAnimate, as in diffusers: a loop over frames."""
    from diffusers import AutoencoderKLMagvit

    model = AutoencoderKLMagvit(
        latent_channels=4, block_out_channels=[8, 16, 16], layers_per_block=1, norm_num_groups=4,
        down_block_types=["SpatialDownBlock3D"] + ["SpatialTemporalDownBlock3D"] * 2,
        up_block_types=["SpatialUpBlock3D"] + ["SpatialTemporalUpBlock3D"] * 2,
    )  # fmt: skip
    return Calling(model, lambda vae, z: vae.decode(z).sample)


@case("Allegro VAE decoder", 1, 4, 8, 8, 8, axis=2, band=2, rate=4, global_ops="auto")
def allegro() -> nn.Module:
    """AutoencoderKLAllegro, as in diffusers: images and time by turns, group norms over both."""
    from diffusers import AutoencoderKLAllegro

    model = AutoencoderKLAllegro(
        down_block_types=("AllegroDownBlock3D",) * 3, up_block_types=("AllegroUpBlock3D",) * 3,
        block_out_channels=(8, 16, 16), temporal_downsample_blocks=(True, True, False),
        temporal_upsample_blocks=(False, True, True), layers_per_block=1, norm_num_groups=4,
    )  # fmt: skip

    def decoded(vae: Any, z: Tensor) -> Tensor:
        frames = vae.post_quant_conv(z.transpose(1, 2).flatten(0, 1))
        return vae.decoder(frames.unflatten(0, (z.shape[0], z.shape[2])).transpose(1, 2))

    return Calling(model, decoded)


# ------------------------------------------------------------------------------ volumes


@case("nnU-Net 3-D", 1, 1, 128, 64, 64, axis=2, band=16, global_ops="auto")
def nnunet() -> nn.Module:
    """Isensee et al. (2021), as in dynamic_network_architectures; instance norms."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    return PlainConvUNet(
        1, 4, [8, 16, 32, 32], nn.Conv3d, 3, [1, 2, 2, 2], 2, 3, 2, conv_bias=True,
        norm_op=nn.InstanceNorm3d, norm_op_kwargs={"affine": True}, nonlin=nn.LeakyReLU,
    )  # fmt: skip


@case("SegResNet", 1, 1, 128, 64, 64, axis=2, band=16, global_ops="auto")
def segresnet() -> nn.Module:
    """Myronenko (2018), as in MONAI: twenty-five group norms."""
    from monai.networks.nets import SegResNet

    return SegResNet(3, 8, 1, 3, blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1))


@case("UNETR", 1, 1, 32, 32, 32, axis=2, band=8, global_ops="auto", warm=0)
def unetr() -> nn.Module:
    """Hatamizadeh et al. (2022), as in MONAI: attention over all of the volume."""
    from monai.networks.nets import UNETR

    return UNETR(1, 2, (32, 32, 32), feature_size=4, hidden_size=24, mlp_dim=24, num_heads=2)


def named(name: str) -> Case:
    """The case of this name.

    >>> named("SegResNet").axis
    2
    """
    (found,) = [case for case in CASES if case.name == name]
    return found


def example(case: Case) -> Tensor:
    """A whole input, drawn."""
    return torch.randn(case.shape, generator=torch.Generator().manual_seed(0))
