"""LoRAs that a request names, as files of the object store: whoever draws it later has the same one."""

from __future__ import annotations

from dataclasses import replace

from serve.ensembles.illustrator.adapters import LoraUse
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.errors import InvalidRequest
from serve.state import State
from serve.state.loras import LoraStore


async def resolve_loras(options: IllustrateOptions, state: State | None, *, needed: bool = True) -> IllustrateOptions:
    """``options`` with the files of its LoRAs, and for which models they are. Raises InvalidRequest naming ``loras`` or
    what brought it for one that is not there or that is for other models, StateUnavailable. Those that are not
    ``needed`` stay as they are where they are not there."""
    names = [lora.name for lora in options.all_loras if not lora.object]
    if not names or (state is None and not needed):
        return options
    if state is None:
        raise InvalidRequest("this site keeps nothing, and so has no LoRAs", "loras")
    stored = await LoraStore(state).named(names)

    def found(use: LoraUse, field: str) -> LoraUse:
        if use.object:
            return use
        lora = stored.get(use.name)
        if lora is None and not needed:
            return use
        if lora is None:
            raise InvalidRequest(f"there is no LoRA {use.name[:64]!a}; GET /v1/loras lists them", field)
        if needed and options.model is not None and options.model not in lora.families:
            raise InvalidRequest(f"LoRA {lora.name!a} is for {', '.join(lora.families)}, not {options.model!a}", field)
        return replace(use, object=lora.object, families=tuple(lora.families))

    return options.with_loras(found)
