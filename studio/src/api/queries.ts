// What pages read and change, one hook each, over TanStack Query.
import {
  keepPreviousData,
  QueryClient,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { useEffect } from "react";
import { nameUser, own, Problem, request, type Schemas } from "./client";
import { later } from "./outbox";

export type Job = Schemas["JobInfo"];
export type Generation = Schemas["GenerationInfo"];
export type Session = { required: boolean; user_id: string | null; role: string | null; scopes: string[] };

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      refetchOnWindowFocus: true,
      retry: (count, error) => error instanceof Problem && (error.isUnreachable || error.status === 503) && count < 20,
      retryDelay: (count) => Math.min(500 * 2 ** count, 3_000),
    },
  },
});

/** Unique, also on pages without TLS, where `crypto.randomUUID` does not exist. */
export const newKey = () => [...crypto.getRandomValues(new Uint32Array(4))].map((part) => part.toString(36)).join("-");

export const isOver = (job: { status: string }) => ["completed", "failed", "cancelled"].includes(job.status);

export const useSession = () =>
  useQuery({
    queryKey: ["session"],
    queryFn: async () => {
      const session = await request<Session>("GET", "/api/session");
      nameUser(session.required ? undefined : (session.user_id ?? undefined));
      return session;
    },
    staleTime: 60_000,
  });

export const useModels = () =>
  useQuery({
    queryKey: ["models"],
    queryFn: () => request<Schemas["ModelList"]>("GET", "/v1/models"),
    staleTime: 60_000,
  });

export const usePresets = () =>
  useQuery({
    queryKey: ["presets"],
    queryFn: () => request<Schemas["PresetsResponse"]>("GET", "/api/diffusion/presets"),
    staleTime: 300_000,
  });

export const useStyles = () =>
  useQuery({
    queryKey: ["styles"],
    queryFn: () => request<Schemas["StylesResponse"]>("GET", "/api/styles"),
    staleTime: 300_000,
  });

export const useEngines = () =>
  useQuery({
    queryKey: ["engines"],
    queryFn: () => request<Schemas["AiHealthResponse"]>("GET", "/api/ai-health"),
    refetchInterval: 15_000,
  });

export const useQueueInfo = () =>
  useQuery({
    queryKey: ["queue"],
    queryFn: () => request<Schemas["QueueInfo"]>("GET", "/v1/queue"),
    refetchInterval: 4_000,
  });

/** All pages that were opened are asked for again: jobs on each of them may still change. */
export const useJobs = (filter: { status?: string; kind?: string }) =>
  useInfiniteQuery({
    queryKey: ["jobs", filter],
    queryFn: ({ pageParam }) =>
      request<Schemas["JobsPage"]>("GET", "/v1/jobs", { query: { ...filter, limit: 50, cursor: pageParam } }),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor,
    refetchInterval: 3_000,
    placeholderData: keepPreviousData,
  });

/** A job as it goes on: pushed by its event stream, and asked for again when the stream ends early. */
export function useJob(id: string) {
  const client = useQueryClient();
  const query = useQuery({
    queryKey: ["job", id],
    queryFn: () => request<Job>("GET", `/v1/jobs/${id}`),
    refetchInterval: ({ state }) => (state.data && isOver(state.data) ? false : 5_000),
  });
  const over = query.data ? isOver(query.data) : false;
  useEffect(() => {
    if (over) return;
    const events = new EventSource(`/v1/jobs/${id}/events?stream=true`);
    const refresh = () => client.invalidateQueries({ queryKey: ["job", id] });
    for (const kind of EVENTS) events.addEventListener(kind, refresh);
    return () => events.close();
  }, [id, over, client]);
  return query;
}
const EVENTS = ["queued", "started", "progress", "preview", "paused", "resumed", "completed", "failed", "cancelled"];

export interface GalleryFilter {
  kind?: string;
  model?: string;
  favorite?: boolean;
  q?: string;
  sort?: string;
  since?: string;
}

export const useGallery = (filter: GalleryFilter, enabled = true) =>
  useInfiniteQuery({
    queryKey: ["gallery", filter],
    enabled,
    queryFn: ({ pageParam }) =>
      request<Schemas["GalleryPage"]>("GET", "/v1/generations", {
        query: { ...filter, status: "completed", limit: 48, cursor: pageParam },
      }),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor,
    placeholderData: keepPreviousData,
  });

/** What pictures are compared with: a text, or a stored picture. */
export type Like = { text?: string; result_id?: string };

/** The most alike first, each generation once. */
export const useAlike = ({ kind, model, favorite }: GalleryFilter, like?: Like) =>
  useQuery({
    queryKey: ["gallery", "alike", kind, model, favorite, like],
    enabled: !!like,
    queryFn: async () => {
      const query = own({ kind, model, favorite, limit: 100, ...like });
      const { matches } = await request<Schemas["SimilarPage"]>("GET", "/v1/generations/similar", { query });
      const found = new Map(matches.map(({ generation }) => [generation.id, generation]));
      return [...found.values()];
    },
    placeholderData: keepPreviousData,
  });

export const useReferences = () =>
  useQuery({
    queryKey: ["references"],
    queryFn: () => request<Schemas["ReferencesPage"]>("GET", "/api/references", { query: own({ limit: 100 }) }),
  });

/** Posts a job; a number above one makes a batch, whose jobs are returned in the order of their seeds. */
export function useDraw() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async (body: Record<string, unknown>) => {
      const key = newKey();
      try {
        const posted = await request<Partial<Schemas["BatchInfo"]> & { id: string }>("POST", "/v1/jobs", {
          body,
          headers: { "Idempotency-Key": key },
        });
        return posted.jobs ? posted.jobs.map((job) => job.id) : [posted.id];
      } catch (error) {
        if (!(error instanceof Problem && error.isUnreachable)) throw error;
        if (!later(body, key)) throw error;
        throw new Problem("Sent later", "The stack does not answer; this is sent as soon as it does.", 0);
      }
    },
    onSettled: () => client.invalidateQueries({ queryKey: ["queue"] }),
  });
}

export function useJobAction() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ id, action, body }: { id: string; action: string; body?: unknown }) =>
      request<Job>(action === "priority" ? "PUT" : "POST", `/v1/jobs/${id}/${action}`, { body }),
    onSettled: (_data, _error, { id }) => {
      client.invalidateQueries({ queryKey: ["job", id] });
      client.invalidateQueries({ queryKey: ["jobs"] });
      client.invalidateQueries({ queryKey: ["queue"] });
    },
  });
}

export function useFavorite() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ id, favorite }: { id: string; favorite: boolean }) =>
      request<Schemas["Favorite"]>(favorite ? "PUT" : "DELETE", `/v1/generations/${id}/favorite`, { query: own() }),
    onSettled: () => client.invalidateQueries({ queryKey: ["gallery"] }),
  });
}

export const useLoras = (enabled: boolean) =>
  useQuery({
    queryKey: ["loras"],
    queryFn: () => request<Schemas["LoraList"]>("GET", "/v1/loras"),
    enabled,
  });
