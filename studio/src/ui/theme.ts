import { useState } from "react";

export type Theme = "dark" | "light";

export function useTheme(): [Theme, (theme: Theme) => void] {
  const [theme, setTheme] = useState<Theme>(() => (document.documentElement.dataset.theme as Theme) ?? "dark");
  return [
    theme,
    (next) => {
      const { dataset } = document.documentElement;
      dataset.switching = "";
      dataset.theme = next;
      requestAnimationFrame(() => requestAnimationFrame(() => delete dataset.switching));
      localStorage.setItem("theme", next);
      setTheme(next);
    },
  ];
}
