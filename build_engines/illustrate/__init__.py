"""From a Stable Diffusion checkpoint in diffusers' layout to the engines of one illustration family."""
