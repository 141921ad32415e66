import { useQuery } from "@tanstack/react-query";
import { request, type Schemas } from "./client";

/** What this site offers; pages show nothing that is not in it. */
export const useOffer = () =>
  useQuery({
    queryKey: ["offer"],
    queryFn: () => request<Schemas["OfferResponse"]>("GET", "/api/studio"),
    staleTime: 60_000,
  });
