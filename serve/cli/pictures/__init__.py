"""Commands that change pictures, `upscale` and `restyle`, and which files commands read and write."""
