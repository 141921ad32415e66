// The page of each address in `pages.ts`; each is loaded when it is first opened.
import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from "@tanstack/react-router";
import { Shell } from "./shell";
import { Failed } from "./ui/feedback";

const root = createRootRoute({ component: Shell });
const page = <Path extends string>(path: Path, component: ReturnType<typeof lazyRouteComponent>) =>
  createRoute({ getParentRoute: () => root, path, component });

export const router = createRouter({
  routeTree: root.addChildren([
    page(
      "/",
      lazyRouteComponent(() => import("./pages/create/create"), "Create"),
    ),
    page(
      "/director",
      lazyRouteComponent(() => import("./pages/director/director"), "Director"),
    ),
    page(
      "/prompts",
      lazyRouteComponent(() => import("./pages/prompts/prompts"), "Prompts"),
    ),
    page(
      "/foryou",
      lazyRouteComponent(() => import("./pages/foryou/foryou"), "ForYou"),
    ),
    page(
      "/vectorise",
      lazyRouteComponent(() => import("./pages/vectorise/vectorise"), "Vectorise"),
    ),
    page(
      "/restyle",
      lazyRouteComponent(() => import("./pages/restyle/restyle"), "Restyle"),
    ),
    page(
      "/queue",
      lazyRouteComponent(() => import("./pages/queue/queue"), "Queue"),
    ),
    page(
      "/gallery",
      lazyRouteComponent(() => import("./pages/gallery/gallery"), "Gallery"),
    ),
    page(
      "/references",
      lazyRouteComponent(() => import("./pages/library/references"), "References"),
    ),
    page(
      "/models",
      lazyRouteComponent(() => import("./pages/library/models"), "Models"),
    ),
    page(
      "/operate",
      lazyRouteComponent(() => import("./pages/operate/operate"), "Operate"),
    ),
    page(
      "/profile",
      lazyRouteComponent(() => import("./pages/profile/profile"), "Profile"),
    ),
  ]),
  defaultPreload: "intent",
  scrollRestoration: true,
  defaultErrorComponent: ({ error, reset }) => <Failed error={error} retry={reset} />,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
