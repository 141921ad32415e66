// The addresses of the pages in `pages.ts`.
import { createRootRoute, createRoute, createRouter } from "@tanstack/react-router";
import { PAGES } from "./pages";
import { Shell } from "./shell";
import { Failed } from "./ui/feedback";

const root = createRootRoute({ component: Shell });
const routes = PAGES.map(({ path, component }) => createRoute({ getParentRoute: () => root, path, component }));

export const router = createRouter({
  routeTree: root.addChildren(routes),
  defaultPreload: "intent",
  scrollRestoration: true,
  defaultErrorComponent: ({ error, reset }) => <Failed error={error} retry={reset} />,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
