export interface Page {
  path: string;
  name: string;
  icon: string;
  /** The scope of a key that the page is for. */
  scope?: string;
}

/** In the order of the navigation. */
export const PAGES: Page[] = [
  { path: "/", name: "Create", icon: "✦" },
  { path: "/director", name: "Art director", icon: "✎" },
  { path: "/prompts", name: "Prompts", icon: "❝" },
  { path: "/foryou", name: "For you", icon: "✧" },
  { path: "/vectorise", name: "Vectorise", icon: "⬡" },
  { path: "/restyle", name: "Restyle", icon: "◐" },
  { path: "/queue", name: "Queue", icon: "≡" },
  { path: "/gallery", name: "Gallery", icon: "▦" },
  { path: "/references", name: "References", icon: "◈" },
  { path: "/models", name: "Models", icon: "◎" },
  { path: "/operate", name: "Operate", icon: "⚙", scope: "admin" },
  { path: "/profile", name: "Profile", icon: "☺" },
];
