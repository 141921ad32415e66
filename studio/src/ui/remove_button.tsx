// Removal from lists that keeps the focus where the work is.
import type { ReactNode } from "react";
import * as aria from "react-aria-components";

interface Props {
  label: string;
  onPress: () => void;
  children?: ReactNode;
}

/** Removes the item of a list that it is in. The focus goes to the same button of the item that follows, else of the
 * one before, else to the first control that the list's parent has then: what adds an item. */
export function RemoveButton({ label, onPress, children = "✕" }: Props) {
  return (
    <aria.Button
      className="button quiet"
      aria-label={label}
      data-removes=""
      onPress={({ target }) => {
        const list = target.closest("ul, tbody, fieldset");
        const all = [...(list?.querySelectorAll<HTMLElement>("[data-removes]") ?? [])];
        const at = all.indexOf(target as HTMLElement);
        const next = all[at + 1] ?? all[at - 1];
        const around = list?.matches("fieldset") ? list : list?.closest("section, .stack, .page");
        onPress();
        requestAnimationFrame(() => (next ?? firstControl(around) ?? document.getElementById("main"))?.focus());
      }}
    >
      {children}
    </aria.Button>
  );
}

const firstControl = (around?: Element | null) =>
  around?.querySelector<HTMLElement>("button:not([disabled]), input:not([type=file]), a[href]");
