"""`PostProcessing`: restyles and finishes pictures once they are drawn, or an input picture that is not drawn from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from serve.ensembles.illustrator.finishing.finishing import Finishing
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration, Parameters, Picture
from serve.ensembles.illustrator.pipeline.source_encoding import decoded_pixels
from serve.ensembles.restyler.restyler import Restyler


class PostProcessing:
    def __init__(self, finishing: Finishing, restyler: Restyler) -> None:
        self.finishing = finishing
        self.restyler = restyler

    def engines(self, options: IllustrateOptions) -> tuple[str, ...]:
        """The engines that ``options`` need once a picture is drawn. Raises as `Finishing.engines` and
        `Restyler.engines_of`."""
        finishing = self.finishing.engines(options.finish)
        if options.restyle is None:
            return finishing
        return (*self.restyler.engines_of(options.restyle), *finishing)

    async def processed(
        self, pictures: Sequence[Picture], options: IllustrateOptions, deadline: float, versions: Mapping[str, str]
    ) -> Sequence[Picture]:
        """``pictures`` restyled, then finished. Raises as `Restyler.restyled` and `Finishing.finished`."""
        if (restyle := options.restyle) is not None:
            pictures = [
                replace(one, pixels=await self.restyler.restyled(one.pixels, restyle, deadline, versions, one.seed))
                for one in pictures
            ]
        if options.finish:
            pictures = [
                replace(one, pixels=await self.finishing.finished(one.pixels, options.finish, deadline, versions))
                for one in pictures
            ]
        return pictures

    async def process_input(
        self,
        options: IllustrateOptions,
        model: str,
        began: float,
        deadline: float,
        versions: Mapping[str, str],
        on_tile: Callable[[int, int], None],
    ) -> Illustration:
        """The input picture, restyled and finished; ``model`` names the engine that does the most; ``began``: when
        the request did, by ``time.perf_counter``."""
        assert options.source is not None
        pixels = await asyncio.to_thread(decoded_pixels, options.source.image)
        seed, restyle = options.seed or 0, options.restyle
        if restyle is not None:
            pixels = await self.restyler.restyled(pixels, restyle, deadline, versions, seed, on_tile)
        pixels = await self.finishing.finished(pixels, options.finish, deadline, versions)
        took_s = time.perf_counter() - began
        parameters = Parameters(
            options.prompt, options.negative_prompt, model, pixels.shape[1], pixels.shape[0], 0, 0.0, 0.0, "", seed,
            restyle=None if restyle is None else restyle.to_json(),
            finish=options.finish.to_json() if options.finish else None,
        )  # fmt: skip
        return Illustration(
            pictures=[Picture(pixels, seed)],
            parameters=parameters,
            tokens=0,
            negative_tokens=0,
            evaluations=0,
            model_versions={},
            timings_s={"finish": took_s},
            processing_time_s=took_s,
        )
