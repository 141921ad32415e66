// Two pictures of one size, the second over the first as far as a divider, which a range moves.
import { Range } from "./controls";

interface Props {
  label: string;
  /** Percent of the width, from the left. */
  split: number;
  setSplit: (split: number) => void;
}

export const SplitRange = ({ label, split, setSplit }: Props) => (
  <Range label={label} value={split} onChange={setSplit} min={0} max={100} shown={`${split} %`} />
);

export const Divider = ({ split }: { split: number }) => (
  <div className="divider" style={{ insetInlineStart: `${split}%` }} aria-hidden="true" />
);

/** The style of what lies over the other. */
export const cutAt = (split: number) => ({ clipPath: `inset(0 0 0 ${split}%)` });
