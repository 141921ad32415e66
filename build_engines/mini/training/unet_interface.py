"""What the denoisers that are trained here have in common with a UNet that is conditioned on text alone."""

from __future__ import annotations

from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor


class TextConditioned(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Called as diffusers' UNets are; ``velocity`` is what a class of it gives."""

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        timestep_cond: None = None,
        added_cond_kwargs: None = None,
        return_dict: bool = True,
    ) -> UNet2DConditionOutput | tuple[Tensor]:
        del timestep_cond, added_cond_kwargs
        velocity = self.velocity(sample, timestep, encoder_hidden_states)
        return UNet2DConditionOutput(velocity) if return_dict else (velocity,)

    def velocity(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """The predicted n - x, in the shape of ``noisy`` (B, C, side, side), of timesteps (B,) and text (B, T, W)."""
        raise NotImplementedError
