// Before and after under one slider.
import { useState } from "react";
import { cutAt, Divider, SplitRange } from "../../ui/split";

interface Props {
  before: string;
  after?: string;
  name: string;
  isBusy: boolean;
}

export function Slider({ before, after, name, isBusy }: Props) {
  const [split, setSplit] = useState(50);
  return (
    <div className="stack">
      <div className={isBusy ? "compare busy" : "compare"}>
        <img src={before} alt={`Before: ${name}`} />
        {after && (
          <div className="over" style={cutAt(split)}>
            <img src={after} alt={`After: ${name}`} />
          </div>
        )}
        {after && <Divider split={split} />}
      </div>
      {after && <SplitRange label="Before left, after right" split={split} setSplit={setSplit} />}
    </div>
  );
}
