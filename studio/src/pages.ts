// Every page of the studio, in the order of the navigation. Each is loaded when it is first opened.
import { lazyRouteComponent } from "@tanstack/react-router";
import type { ReactNode } from "react";

/** `exported`: the component in the module. `scope`: of a key that the page is for. */
const page = <Path extends string, Module extends Record<string, () => ReactNode>>(
  path: Path,
  name: string,
  icon: string,
  load: () => Promise<Module>,
  exported: keyof Module & string,
  scope?: string,
) => ({ path, name, icon, component: lazyRouteComponent(load, exported), scope });

export const PAGES = [
  page("/", "Create", "✦", () => import("./pages/create/create"), "Create"),
  page("/director", "Art director", "✎", () => import("./pages/director/director"), "Director"),
  page("/prompts", "Prompts", "❝", () => import("./pages/prompts/prompts"), "Prompts"),
  page("/foryou", "For you", "✧", () => import("./pages/foryou/foryou"), "ForYou"),
  page("/vectorise", "Vectorise", "⬡", () => import("./pages/vectorise/vectorise"), "Vectorise"),
  page("/restyle", "Restyle", "◐", () => import("./pages/restyle/restyle"), "Restyle"),
  page("/queue", "Queue", "≡", () => import("./pages/queue/queue"), "Queue"),
  page("/gallery", "Gallery", "▦", () => import("./pages/gallery/gallery"), "Gallery"),
  page("/references", "References", "◈", () => import("./pages/library/references"), "References"),
  page("/models", "Models", "◎", () => import("./pages/library/models"), "Models"),
  page("/operate", "Operate", "⚙", () => import("./pages/operate/operate"), "Operate", "admin"),
  page("/profile", "Profile", "☺", () => import("./pages/profile/profile"), "Profile"),
];
