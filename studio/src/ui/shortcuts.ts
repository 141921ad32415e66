import { useEffect } from "react";

/** Runs `act` at Ctrl+Enter (Command+Enter), wherever the focus is. */
export function useCtrlEnter(act: () => void) {
  useEffect(() => {
    const listen = (event: KeyboardEvent) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      act();
    };
    window.addEventListener("keydown", listen);
    return () => window.removeEventListener("keydown", listen);
  });
}
