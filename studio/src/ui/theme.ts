import { useState } from "react";

export type Theme = "dark" | "light";

export function useTheme(): [Theme, (theme: Theme) => void] {
  const [theme, setTheme] = useState<Theme>(() => (document.documentElement.dataset.theme as Theme) ?? "dark");
  return [
    theme,
    (next) => {
      document.documentElement.dataset.theme = next;
      localStorage.setItem("theme", next);
      setTheme(next);
    },
  ];
}
