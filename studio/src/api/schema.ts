// Made from /openapi.json by `make studio-types`. Do not edit.
export type paths = Record<string, never>;
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /** AddedGeneration */
        AddedGeneration: {
            /**
             * Success
             * @constant
             */
            success: true;
            /** Id */
            id: string;
            /** Status */
            status: string;
            /** Position */
            position: number | null;
            /**
             * Estimatedtime
             * @description seconds
             */
            estimatedTime: number | null;
        };
        /** AiHealthResponse */
        AiHealthResponse: {
            /**
             * Status
             * @enum {string}
             */
            status: "healthy" | "degraded" | "unavailable";
            /** Models Ready */
            models_ready: number;
            /** Models Total */
            models_total: number;
            /** Models */
            models: {
                [key: string]: components["schemas"]["EngineHealth"];
            };
            /**
             * Asleep
             * @description Ensembles that the first request wakes
             */
            asleep: string[];
            model_info: components["schemas"]["ModelInfo"];
        };
        /** AiMetadata */
        AiMetadata: {
            /** Logo Type */
            logo_type: string;
            /** Selected Tier */
            selected_tier: string;
            /** Tracer */
            tracer: string;
            /** Input Sha256 */
            input_sha256: string;
            /** Confidence */
            confidence: number;
            /** Processing Time */
            processing_time: number;
            /** Predicted Quality */
            predicted_quality: number | null;
            /** Actual Quality */
            actual_quality: number | null;
            /** Bytes */
            bytes: number;
            /** Paths */
            paths: number;
            /** Width */
            width: number;
            /** Height */
            height: number;
            /**
             * Parameters Used
             * @example {
             *       "color_precision": 6,
             *       "corner_threshold": 60
             *     }
             */
            parameters_used: {
                [key: string]: unknown;
            };
            /** Model Versions */
            model_versions: {
                [key: string]: string;
            };
            /**
             * Timings S
             * @default {}
             */
            timings_s: {
                [key: string]: number;
            };
            /**
             * Cost
             * @description cpu_seconds, gpu_seconds; not of answers from the cache
             * @default {}
             */
            cost: {
                [key: string]: number;
            };
            /**
             * Degraded
             * @description what could not be done as asked
             * @example []
             */
            degraded: string[];
            /** Generation Id */
            generation_id: string;
            /** Cached */
            cached: boolean;
        };
        /** AnalysisResponse */
        AnalysisResponse: {
            /**
             * Success
             * @constant
             */
            success: true;
            /** Features */
            features: {
                [key: string]: number;
            };
            /** Logo Type */
            logo_type: string;
            /** Recommended Tier */
            recommended_tier: string;
            /** Input Sha256 */
            input_sha256: string;
            /** Processing Method */
            processing_method: string;
            /** Confidence */
            confidence: number;
            /** Processing Time */
            processing_time: number;
            /** Width */
            width: number;
            /** Height */
            height: number;
            /** Cached */
            cached: boolean;
        };
        /** ArmInfo */
        ArmInfo: {
            /**
             * Arm
             * @example control
             */
            arm: string;
            /** Weight */
            weight: number;
            /**
             * Users
             * @example 90
             */
            users: number;
            /**
             * Units
             * @description users, and requests of unknown users
             * @example 96
             */
            units: number;
            /**
             * Generations
             * @example 214
             */
            generations: number;
            metrics: components["schemas"]["Metrics"];
        };
        /** AuditEntry */
        AuditEntry: {
            /** Seq */
            seq: number;
            /** User Id */
            user_id: string | null;
            /** Key Id */
            key_id: string | null;
            /** Action */
            action: string;
            /** Subject */
            subject: string | null;
            /**
             * Details
             * @description what else is known of it
             * @example {
             *       "role": "user"
             *     }
             */
            details: unknown;
            /** Address */
            address: string | null;
            /**
             * Created At
             * Format: date-time
             */
            created_at: string;
        };
        /** AuditResponse */
        AuditResponse: {
            /** Entries */
            entries: components["schemas"]["AuditEntry"][];
            /**
             * Next Cursor
             * @description None at the end.
             */
            next_cursor: string | null;
        };
        /** BatchInfo */
        BatchInfo: {
            /** Id */
            id: string;
            /** Batch Id */
            batch_id: string;
            /** User Id */
            user_id: string;
            /**
             * Over
             * @description every job is
             */
            over: boolean;
            /** Progress */
            progress: number;
            /**
             * Counts
             * @description jobs by status
             */
            counts: {
                [key: string]: number;
            };
            /** Created At */
            created_at: string | null;
            /**
             * Status Url
             * Format: uri
             */
            status_url: string;
            /**
             * Cancel Url
             * Format: uri
             */
            cancel_url: string;
            /**
             * Download Url
             * Format: uri
             */
            download_url: string;
            /** Jobs */
            jobs: components["schemas"]["BriefJob"][];
        };
        /** BreakerInfo */
        BreakerInfo: {
            /**
             * Name
             * @example illustrate
             */
            name: string;
            /**
             * State
             * @enum {string}
             */
            state: "closed" | "open" | "half-open";
            /**
             * Ended
             * @description in the window
             * @example 120
             */
            ended: number;
            /**
             * Failed
             * @example 0
             */
            failed: number;
            /**
             * Wait S
             * @description seconds that it stays open
             * @example 0
             */
            wait_s: number;
        };
        /** BriefJob */
        BriefJob: {
            /** Id */
            id: string;
            /**
             * Status
             * @enum {string}
             */
            status: "pending" | "processing" | "paused" | "completed" | "failed" | "cancelled";
            /** Progress */
            progress: number;
            /**
             * Prompt
             * @description cut short
             */
            prompt: string;
            /**
             * Seed
             * @default 0
             */
            seed: number;
            /** Error */
            error: {
                [key: string]: unknown;
            } | null;
            /** Results */
            results: components["schemas"]["ResultUrl"][];
        };
        /** CamelCaseGeneration */
        CamelCaseGeneration: {
            /** Id */
            id: string;
            /** Userid */
            userId: string;
            /** Kind */
            kind: string;
            /** Batchid */
            batchId: string | null;
            /** Retriedfrom */
            retriedFrom?: string | null;
            /** Prompt */
            prompt: string;
            /** Enhancedprompt */
            enhancedPrompt: string | null;
            /** Analysis */
            analysis?: unknown;
            /** Model */
            model: string | null;
            /** Models */
            models?: unknown;
            /** Parameters */
            parameters?: unknown;
            /** Details */
            details?: unknown;
            /**
             * Status
             * @enum {string}
             */
            status: "pending" | "processing" | "paused" | "completed" | "failed" | "cancelled";
            /**
             * Priority
             * @default 0
             */
            priority: number;
            /** Error */
            error?: unknown;
            /** Favorite */
            favorite: boolean;
            /** Rating */
            rating: number | null;
            /**
             * Cached
             * @default false
             */
            cached: boolean;
            /** Results */
            results: components["schemas"]["CamelCaseResult"][];
            /**
             * Createdat
             * Format: date-time
             */
            createdAt: string;
            /** Startedat */
            startedAt?: string | null;
            /** Completedat */
            completedAt: string | null;
            /** Generationtimes */
            generationTimeS: number | null;
        };
        /** CamelCasePage */
        CamelCasePage: {
            /** Generations */
            generations: components["schemas"]["CamelCaseGeneration"][];
            /**
             * Nextcursor
             * @description None at the end.
             */
            nextCursor: string | null;
        };
        /** CamelCaseResult */
        CamelCaseResult: {
            /** Id */
            id: string;
            /** Model */
            model: string | null;
            /**
             * Imageurl
             * Format: uri
             */
            imageUrl: string;
            /**
             * Thumbnailurl
             * Format: uri
             */
            thumbnailUrl: string;
            /** Score */
            score: number | null;
            /** Metadata */
            metadata: {
                [key: string]: unknown;
            };
            /**
             * Generatedat
             * Format: date-time
             */
            generatedAt: string;
        };
        /** CaptionResponse */
        CaptionResponse: {
            /** Caption */
            caption: string;
        };
        /** ComparedVersion */
        ComparedVersion: {
            /**
             * Version
             * @description the name of its folder
             * @example 2
             */
            version: string;
            /** Users */
            users: number;
            /** Generations */
            generations: number;
            /**
             * Units
             * @description users, and requests of unknown users
             */
            units: number;
            metrics: components["schemas"]["Metrics"];
            /**
             * P50 Time S
             * @description seconds, without answers from the cache
             */
            p50_time_s: number | null;
            /**
             * P95 Time S
             * @description seconds, without answers from the cache
             */
            p95_time_s: number | null;
        };
        /** ControlNetModels */
        ControlNetModels: {
            /** Model List */
            model_list: {
                [key: string]: unknown;
            }[];
        };
        /** ControlNetModules */
        ControlNetModules: {
            /** Module List */
            module_list: {
                [key: string]: unknown;
            }[];
            /**
             * Module Detail
             * @example {}
             */
            module_detail: Record<string, never>;
        };
        /** ControlNetTypes */
        ControlNetTypes: {
            /**
             * Control Types
             * @example {}
             */
            control_types: Record<string, never>;
        };
        /** ControlNetVersion */
        ControlNetVersion: {
            /**
             * Version
             * @example 0
             */
            version: number;
        };
        /** ConversionResponse */
        ConversionResponse: {
            /**
             * Success
             * @constant
             */
            success: true;
            /**
             * Svg Content
             * @example <svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><path d="M8 8h48v48H8z" fill="#c0392b"/></svg>
             */
            svg_content: string;
            ai_metadata: components["schemas"]["AiMetadata"];
            /** Processing Time */
            processing_time: number;
            /** Fallback Used */
            fallback_used: boolean;
            model_info: components["schemas"]["ModelInfo"];
        };
        /** ConvertAiForm */
        ConvertAiForm: {
            /** Max Bytes */
            max_bytes?: number | null;
            /** Max Paths */
            max_paths?: number | null;
            /**
             * Validate
             * @description render the SVG and report its true quality
             * @default false
             */
            validate: boolean;
            /**
             * Tier
             * @default auto
             * @enum {string}
             */
            tier: "auto" | "basic" | "1" | "2" | "3";
            /**
             * Target Quality
             * @default 0.9
             */
            target_quality: number;
            /** Time Budget */
            time_budget?: number | null;
            /**
             * Image
             * Format: binary
             * @description PNG, JPEG, WebP, GIF, BMP or TIFF, of 2 px a side or more
             */
            image: string;
        };
        /** ConvertForm */
        ConvertForm: {
            /** Max Bytes */
            max_bytes?: number | null;
            /** Max Paths */
            max_paths?: number | null;
            /**
             * Validate
             * @description render the SVG and report its true quality
             * @default false
             */
            validate: boolean;
            /**
             * Image
             * Format: binary
             * @description PNG, JPEG, WebP, GIF, BMP or TIFF, of 2 px a side or more
             */
            image: string;
        };
        /** CostRow */
        CostRow: {
            /** Requests */
            requests: number;
            /** Cpu Seconds */
            cpu_seconds: number;
            /** Gpu Seconds */
            gpu_seconds: number;
            /** Money */
            money: number | null;
            /** Of */
            of: string | null;
        };
        /** CostsResponse */
        CostsResponse: {
            /** By */
            by: string;
            /**
             * Since
             * Format: date-time
             */
            since: string;
            /**
             * Currency
             * @example EUR
             */
            currency: string;
            /** Costs */
            costs: components["schemas"]["CostRow"][];
        };
        /** Count */
        Count: {
            /** Count */
            count: number;
            /** Ns */
            ns: number;
        } & {
            [key: string]: unknown;
        };
        /** DayCounts */
        DayCounts: {
            /**
             * Day
             * @example 2026-05-01
             */
            day: string;
            /** Total */
            total: number;
            /** Successes */
            successes: number;
        };
        /** DetectResponse */
        DetectResponse: {
            /** Images */
            images: string[];
        };
        /**
         * DiffusionRequest
         * @example {
         *       "guidance": 5,
         *       "preset": "landscape",
         *       "prompt": "a lighthouse",
         *       "quality": "draft",
         *       "seed": 7,
         *       "steps": 20
         *     }
         */
        DiffusionRequest: {
            /**
             * Negative Prompt
             * @default
             */
            negative_prompt: string;
            /** Num Inference Steps */
            num_inference_steps?: number | null;
            /**
             * Steps
             * @description another name of num_inference_steps
             */
            steps?: number | null;
            /** Guidance Scale */
            guidance_scale?: number | null;
            /**
             * Guidance
             * @description another name of guidance_scale
             */
            guidance?: number | null;
            /**
             * Sampler
             * @description such as ddim, euler, euler_ancestral, heun, dpmpp_2m, unipc, lcm
             */
            sampler?: string | null;
            /** Seed */
            seed?: number | null;
            /** Candidates */
            candidates?: number | null;
            /**
             * Output Format
             * @default png
             * @enum {string}
             */
            output_format: "png" | "jpeg" | "webp" | "svg";
            /**
             * Output Compression
             * @description quality of JPEG and WebP
             * @default 95
             */
            output_compression: number;
            /**
             * Metadata
             * @description whether the picture tells how it was made; the site's own default
             */
            metadata?: boolean | null;
            /**
             * C2Pa
             * @description whether it is signed (Content Credentials), where that is offered
             * @default false
             */
            c2pa: boolean;
            /** Strength */
            strength?: number | null;
            /** Fit */
            fit?: ("crop" | "pad" | "stretch") | null;
            /** Mask Blur */
            mask_blur?: number | null;
            /** Mask Fill */
            mask_fill?: ("original" | "surroundings" | "noise" | "empty") | null;
            /** Mask Crop */
            mask_crop?: boolean | null;
            /** Mask Crop Padding */
            mask_crop_padding?: number | null;
            /** @description pixels to add on each side; in forms such as left=64,right=64 */
            outpaint?: components["schemas"]["OutpaintFields"] | null;
            /**
             * Image
             * @description a data: URL in base64, or the https: address of a picture
             */
            image?: string | null;
            /**
             * Result Id
             * @description a stored result in place of image
             */
            result_id?: string | null;
            /**
             * Reference Id
             * @description a stored subject reference in place of image
             */
            reference_id?: string | null;
            /**
             * Mask
             * @description as image, and of its size: what is white is drawn anew, grey with that share of the steps
             */
            mask?: string | null;
            /**
             * Styles
             * @description of GET /api/styles: names, or names with weights that are mixed
             */
            styles?: components["schemas"]["StyleChoice"][] | null;
            /**
             * Model
             * @description one of GET /v1/models; the first by default
             */
            model?: string | null;
            /** Width */
            width?: number | null;
            /** Height */
            height?: number | null;
            /** Prompt */
            prompt: string;
            /**
             * N
             * @default 1
             */
            n: number;
            /**
             * Preset
             * @description landscape, portrait, abstract, fantasy, sci-fi, or category/template
             */
            preset?: string | null;
            /**
             * Quality
             * @default standard
             * @enum {string}
             */
            quality: "draft" | "standard" | "high quality";
        };
        /** DiffusionResponse */
        DiffusionResponse: {
            /** Success */
            success: boolean;
            /**
             * Image Url
             * Format: uri
             * @description where it is kept; a data: URL where nothing is kept
             */
            image_url: string;
            /** Images */
            images: components["schemas"]["SeededPicture"][];
            /** Generation Id */
            generation_id: string;
            /** Metadata */
            metadata: {
                [key: string]: unknown;
            };
        };
        /** EmbeddingsResponse */
        EmbeddingsResponse: {
            /**
             * Loaded
             * @example {}
             */
            loaded: Record<string, never>;
            /**
             * Skipped
             * @example {}
             */
            skipped: Record<string, never>;
        };
        /** EngineHealth */
        EngineHealth: {
            /** Ready */
            ready: boolean;
            /** Latency Ms */
            latency_ms: number;
            /** Version */
            version: string;
            /** Reason */
            reason: string;
        };
        /** ErrorBody */
        ErrorBody: {
            /** Error */
            error: string;
        };
        /** ErrorCount */
        ErrorCount: {
            /** Message */
            message: string | null;
            /** Total */
            total: number;
        };
        /** Estimate */
        Estimate: {
            /**
             * Value
             * @example 0.42
             */
            value: number | null;
            /**
             * Low
             * @example 0.35
             */
            low: number | null;
            /**
             * High
             * @example 0.49
             */
            high: number | null;
            /**
             * N
             * @example 214
             */
            n: number;
            /**
             * Units
             * @example 96
             */
            units: number;
        };
        /** EventInfo */
        EventInfo: {
            /** Id */
            id: number;
            /** Event */
            event: string;
            /** Data */
            data: {
                [key: string]: unknown;
            };
        };
        /** EventsResponse */
        EventsResponse: {
            /**
             * Events
             * @example [
             *       {
             *         "data": {
             *           "progress": 0,
             *           "status": "processing"
             *         },
             *         "event": "processing",
             *         "id": 2
             *       }
             *     ]
             */
            events: components["schemas"]["EventInfo"][];
            /** Last */
            last: number;
            /** Over */
            over: boolean;
        };
        /** ExperimentResponse */
        ExperimentResponse: {
            /**
             * Experiment
             * @example more-steps
             */
            experiment: string;
            /**
             * Confidence
             * @example 0.95
             */
            confidence: number;
            /** Since */
            since: string | null;
            /** Until */
            until: string | null;
            /** Enough */
            enough: boolean;
            /**
             * Note
             * @description why arms are not compared yet
             */
            note: string | null;
            /** Arms */
            arms: components["schemas"]["ArmInfo"][];
            /** @description of two arms: the second less the first */
            difference: components["schemas"]["Metrics"] | null;
        };
        /** FallbackResponse */
        FallbackResponse: {
            /** Chain */
            chain: components["schemas"]["BreakerInfo"][];
            /**
             * Watched
             * @description what is left alone while it fails, with nobody in its place
             * @default []
             */
            watched: components["schemas"]["BreakerInfo"][];
            /**
             * Flag
             * @description of the users whom the Illustrator serves; null: all
             */
            flag: string | null;
            /**
             * Window S
             * @description seconds
             */
            window_s: number;
        };
        /** FamilyOffer */
        FamilyOffer: {
            /**
             * Name
             * @example mini
             */
            name: string;
            /**
             * Width
             * @description pixels, by default
             */
            width: number;
            /**
             * Height
             * @description pixels, by default
             */
            height: number;
            /** Multiple Of Px */
            multiple_of_px: number;
            /** Min Px */
            min_px: number;
            /** Max Px */
            max_px: number;
            /**
             * Num Inference Steps
             * @description by default
             */
            num_inference_steps: number;
            /**
             * Guidance Scale
             * @description by default
             */
            guidance_scale: number;
            /**
             * Sampler
             * @description by default
             */
            sampler: string;
            /** Samplers */
            samplers: string[];
        };
        /** Favorite */
        Favorite: {
            /** Id */
            id: string;
            /** Favorite */
            favorite: boolean;
        };
        /**
         * FlagChange
         * @example {
         *       "enabled": true,
         *       "percentage": 25,
         *       "users": [
         *         "ada"
         *       ]
         *     }
         */
        FlagChange: {
            /**
             * Enabled
             * @default true
             */
            enabled: boolean;
            /**
             * Percentage
             * @description of all users
             * @default 100
             */
            percentage: number;
            /** Users */
            users?: string[];
        };
        /** FlagInfo */
        FlagInfo: {
            /**
             * Name
             * @example new-model
             */
            name: string;
            /** Enabled */
            enabled: boolean;
            /**
             * Percentage
             * @description of all users
             * @example 25
             */
            percentage: number;
            /**
             * Users
             * @description who have it beside them
             * @example [
             *       "ada"
             *     ]
             */
            users: string[];
        };
        /** GalleryPage */
        GalleryPage: {
            /** Generations */
            generations: components["schemas"]["GenerationInfo"][];
            /**
             * Next Cursor
             * @description None at the end.
             */
            next_cursor: string | null;
        };
        /**
         * GenerateAnswer
         * @example {
         *       "model_name": "plus_one",
         *       "model_version": "1",
         *       "y": [
         *         2
         *       ]
         *     }
         */
        GenerateAnswer: {
            /** Model Name */
            model_name: string;
            /** Model Version */
            model_version: string;
        } & {
            [key: string]: unknown;
        };
        /**
         * GenerateRequest
         * @description The scales are those of a reference: without one, they have no effect.
         * @example {
         *       "prompt": "red apple, flat",
         *       "seed": 7,
         *       "user_id": "ada"
         *     }
         */
        GenerateRequest: {
            /**
             * Negative Prompt
             * @default
             */
            negative_prompt: string;
            /** Num Inference Steps */
            num_inference_steps?: number | null;
            /**
             * Steps
             * @description another name of num_inference_steps
             */
            steps?: number | null;
            /** Guidance Scale */
            guidance_scale?: number | null;
            /**
             * Guidance
             * @description another name of guidance_scale
             */
            guidance?: number | null;
            /**
             * Sampler
             * @description such as ddim, euler, euler_ancestral, heun, dpmpp_2m, unipc, lcm
             */
            sampler?: string | null;
            /** Seed */
            seed?: number | null;
            /** Candidates */
            candidates?: number | null;
            /**
             * Output Format
             * @default png
             * @enum {string}
             */
            output_format: "png" | "jpeg" | "webp" | "svg";
            /**
             * Output Compression
             * @description quality of JPEG and WebP
             * @default 95
             */
            output_compression: number;
            /**
             * Metadata
             * @description whether the picture tells how it was made; the site's own default
             */
            metadata?: boolean | null;
            /**
             * C2Pa
             * @description whether it is signed (Content Credentials), where that is offered
             * @default false
             */
            c2pa: boolean;
            /** Strength */
            strength?: number | null;
            /** Fit */
            fit?: ("crop" | "pad" | "stretch") | null;
            /** Mask Blur */
            mask_blur?: number | null;
            /** Mask Fill */
            mask_fill?: ("original" | "surroundings" | "noise" | "empty") | null;
            /** Mask Crop */
            mask_crop?: boolean | null;
            /** Mask Crop Padding */
            mask_crop_padding?: number | null;
            /** @description pixels to add on each side; in forms such as left=64,right=64 */
            outpaint?: components["schemas"]["OutpaintFields"] | null;
            /**
             * Image
             * @description a data: URL in base64, or the https: address of a picture
             */
            image?: string | null;
            /**
             * Result Id
             * @description a stored result in place of image
             */
            result_id?: string | null;
            /**
             * Reference Id
             * @description a stored subject reference in place of image
             */
            reference_id?: string | null;
            /**
             * Mask
             * @description as image, and of its size: what is white is drawn anew, grey with that share of the steps
             */
            mask?: string | null;
            /**
             * Styles
             * @description of GET /api/styles: names, or names with weights that are mixed
             */
            styles?: components["schemas"]["StyleChoice"][] | null;
            /**
             * Model
             * @description one of GET /v1/models; the first by default
             */
            model?: string | null;
            /** Width */
            width?: number | null;
            /** Height */
            height?: number | null;
            /** Prompt */
            prompt: string;
            /** User Id */
            user_id?: string | null;
            /**
             * Subject Reference Url
             * @description not offered yet
             */
            subject_reference_url?: null;
            /**
             * Style Scale
             * @default 0.8
             */
            style_scale: number;
            /**
             * Content Scale
             * @default 1
             */
            content_scale: number;
        };
        /** GenerateResponse */
        GenerateResponse: {
            /**
             * Image Url
             * Format: uri
             * @description where it is kept; a data: URL where nothing is kept
             */
            image_url: string;
            /** Generation Id */
            generation_id: string;
            /** Metadata */
            metadata: {
                [key: string]: unknown;
            };
        };
        /** GenerationInfo */
        GenerationInfo: {
            /** Id */
            id: string;
            /** User Id */
            user_id: string;
            /** Kind */
            kind: string;
            /** Batch Id */
            batch_id: string | null;
            /** Retried From */
            retried_from?: string | null;
            /** Prompt */
            prompt: string;
            /** Enhanced Prompt */
            enhanced_prompt: string | null;
            /** Analysis */
            analysis?: unknown;
            /** Model */
            model: string | null;
            /** Models */
            models?: unknown;
            /** Parameters */
            parameters?: unknown;
            /** Details */
            details?: unknown;
            /**
             * Status
             * @enum {string}
             */
            status: "pending" | "processing" | "paused" | "completed" | "failed" | "cancelled";
            /**
             * Priority
             * @default 0
             */
            priority: number;
            /** Error */
            error?: unknown;
            /** Favorite */
            favorite: boolean;
            /** Rating */
            rating: number | null;
            /**
             * Cached
             * @default false
             */
            cached: boolean;
            /** Results */
            results: components["schemas"]["serve__api__library__generations__ResultInfo"][];
            /**
             * Created At
             * Format: date-time
             */
            created_at: string;
            /** Started At */
            started_at?: string | null;
            /** Completed At */
            completed_at: string | null;
            /** Generation Time S */
            generation_time_s: number | null;
        };
        /**
         * GenerationRequest
         * @example {
         *       "prompt": "red apple, flat",
         *       "seed": 7,
         *       "userId": "ada"
         *     }
         */
        GenerationRequest: {
            /**
             * Negativeprompt
             * @default
             */
            negativePrompt: string;
            /** Numinferencesteps */
            numInferenceSteps?: number | null;
            /**
             * Steps
             * @description another name of num_inference_steps
             */
            steps?: number | null;
            /** Guidancescale */
            guidanceScale?: number | null;
            /**
             * Guidance
             * @description another name of guidance_scale
             */
            guidance?: number | null;
            /**
             * Sampler
             * @description such as ddim, euler, euler_ancestral, heun, dpmpp_2m, unipc, lcm
             */
            sampler?: string | null;
            /** Seed */
            seed?: number | null;
            /** Candidates */
            candidates?: number | null;
            /**
             * Outputformat
             * @default png
             * @enum {string}
             */
            outputFormat: "png" | "jpeg" | "webp" | "svg";
            /**
             * Outputcompression
             * @description quality of JPEG and WebP
             * @default 95
             */
            outputCompression: number;
            /**
             * Metadata
             * @description whether the picture tells how it was made; the site's own default
             */
            metadata?: boolean | null;
            /**
             * C2Pa
             * @description whether it is signed (Content Credentials), where that is offered
             * @default false
             */
            c2pa: boolean;
            /** Strength */
            strength?: number | null;
            /** Fit */
            fit?: ("crop" | "pad" | "stretch") | null;
            /** Maskblur */
            maskBlur?: number | null;
            /** Maskfill */
            maskFill?: ("original" | "surroundings" | "noise" | "empty") | null;
            /** Maskcrop */
            maskCrop?: boolean | null;
            /** Maskcroppadding */
            maskCropPadding?: number | null;
            /** @description pixels to add on each side; in forms such as left=64,right=64 */
            outpaint?: components["schemas"]["OutpaintFields"] | null;
            /**
             * Image
             * @description a data: URL in base64, or the https: address of a picture
             */
            image?: string | null;
            /**
             * Resultid
             * @description a stored result in place of image
             */
            resultId?: string | null;
            /**
             * Referenceid
             * @description a stored subject reference in place of image
             */
            referenceId?: string | null;
            /**
             * Mask
             * @description as image, and of its size: what is white is drawn anew, grey with that share of the steps
             */
            mask?: string | null;
            /**
             * Styles
             * @description of GET /api/styles: names, or names with weights that are mixed
             */
            styles?: components["schemas"]["StyleChoice"][] | null;
            /**
             * Model
             * @description one of GET /v1/models; the first by default
             */
            model?: string | null;
            /** Width */
            width?: number | null;
            /** Height */
            height?: number | null;
            /** Prompt */
            prompt: string;
            /**
             * N
             * @default 1
             */
            n: number;
            /** Quality */
            quality?: ("draft" | "standard" | "high quality") | null;
            /** Models */
            models?: "diffusion"[];
            /** Priority */
            priority?: (number | ("low" | "normal" | "high")) | null;
            /** Userid */
            userId?: string | null;
        };
        /** GenerationStatus */
        GenerationStatus: {
            /** Id */
            id: string;
            /**
             * Userid
             * @default
             */
            userId: string;
            /**
             * Prompt
             * @default
             */
            prompt: string;
            /**
             * Models
             * @default []
             */
            models: string[];
            /**
             * Status
             * @enum {string}
             */
            status: "pending" | "processing" | "paused" | "completed" | "failed" | "cancelled";
            /**
             * Priority
             * @default 0
             */
            priority: number;
            /** Progress */
            progress: number;
            /** Step */
            step?: number | null;
            /** Steps */
            steps?: number | null;
            /** Previewurl */
            previewUrl?: string | null;
            /** Position */
            position: number | null;
            /** Estimatedtime */
            estimatedTime?: number | null;
            /** Error */
            error?: unknown;
            /** Createdat */
            createdAt?: string | null;
            /** Startedat */
            startedAt?: string | null;
            /** Completedat */
            completedAt?: string | null;
        };
        /** GpuMemory */
        GpuMemory: {
            /**
             * Error
             * @example unavailable
             */
            error: string;
        };
        /**
         * IllustrationRequest
         * @example {
         *       "prompt": "a fox",
         *       "seed": 7,
         *       "stylePreferences": {
         *         "artisticStyle": "flat",
         *         "mood": "calm"
         *       },
         *       "userId": "ada"
         *     }
         */
        IllustrationRequest: {
            /**
             * Negativeprompt
             * @default
             */
            negativePrompt: string;
            /** Numinferencesteps */
            numInferenceSteps?: number | null;
            /**
             * Steps
             * @description another name of num_inference_steps
             */
            steps?: number | null;
            /** Guidancescale */
            guidanceScale?: number | null;
            /**
             * Guidance
             * @description another name of guidance_scale
             */
            guidance?: number | null;
            /**
             * Sampler
             * @description such as ddim, euler, euler_ancestral, heun, dpmpp_2m, unipc, lcm
             */
            sampler?: string | null;
            /** Seed */
            seed?: number | null;
            /** Candidates */
            candidates?: number | null;
            /**
             * Outputformat
             * @default png
             * @enum {string}
             */
            outputFormat: "png" | "jpeg" | "webp" | "svg";
            /**
             * Outputcompression
             * @description quality of JPEG and WebP
             * @default 95
             */
            outputCompression: number;
            /**
             * Metadata
             * @description whether the picture tells how it was made; the site's own default
             */
            metadata?: boolean | null;
            /**
             * C2Pa
             * @description whether it is signed (Content Credentials), where that is offered
             * @default false
             */
            c2pa: boolean;
            /** Strength */
            strength?: number | null;
            /** Fit */
            fit?: ("crop" | "pad" | "stretch") | null;
            /** Maskblur */
            maskBlur?: number | null;
            /** Maskfill */
            maskFill?: ("original" | "surroundings" | "noise" | "empty") | null;
            /** Maskcrop */
            maskCrop?: boolean | null;
            /** Maskcroppadding */
            maskCropPadding?: number | null;
            /** @description pixels to add on each side; in forms such as left=64,right=64 */
            outpaint?: components["schemas"]["OutpaintFields"] | null;
            /**
             * Image
             * @description a data: URL in base64, or the https: address of a picture
             */
            image?: string | null;
            /**
             * Resultid
             * @description a stored result in place of image
             */
            resultId?: string | null;
            /**
             * Referenceid
             * @description a stored subject reference in place of image
             */
            referenceId?: string | null;
            /**
             * Mask
             * @description as image, and of its size: what is white is drawn anew, grey with that share of the steps
             */
            mask?: string | null;
            /**
             * Styles
             * @description of GET /api/styles: names, or names with weights that are mixed
             */
            styles?: components["schemas"]["StyleChoice"][] | null;
            /**
             * Model
             * @description one of GET /v1/models; the first by default
             */
            model?: string | null;
            /** Width */
            width?: number | null;
            /** Height */
            height?: number | null;
            /** Prompt */
            prompt: string;
            /** Userid */
            userId?: string | null;
            /**
             * Subjectreferences
             * @description not offered yet
             */
            subjectReferences?: unknown[];
            /** @default {} */
            stylePreferences: components["schemas"]["StylePreferences"];
            /** @default {} */
            memoryContext: components["schemas"]["MemoryContext"];
        };
        /** IllustrationResponse */
        IllustrationResponse: {
            /**
             * Imageurl
             * Format: uri
             * @description where it is kept; a data: URL where nothing is kept
             */
            imageUrl: string;
            /** Generationid */
            generationId: string;
            /** Metadata */
            metadata: {
                [key: string]: unknown;
            };
        };
        /** ImageData */
        ImageData: {
            /**
             * B64 Json
             * @default
             */
            b64_json: string;
            /**
             * Url
             * @default
             */
            url: string;
        };
        /** ImageForm */
        ImageForm: {
            /**
             * Image
             * Format: binary
             * @description PNG, JPEG, WebP, GIF, BMP or TIFF, of 2 px a side or more
             */
            image: string;
        };
        /**
         * ImagesBody
         * @example {
         *       "n": 2,
         *       "output_format": "png",
         *       "prompt": "red apple, flat",
         *       "seed": 7,
         *       "size": "1024x1024"
         *     }
         */
        ImagesBody: {
            /**
             * Model
             * @description one of GET /v1/models; any other name means the first of them
             */
            model?: string | null;
            /**
             * N
             * @default 1
             */
            n: number | null;
            /**
             * Size
             * @default auto
             */
            size: string | null;
            /**
             * Response Format
             * @description url: where it is kept
             */
            response_format?: ("b64_json" | "url") | null;
            /** User */
            user?: string | null;
            /**
             * Negative Prompt
             * @default
             */
            negative_prompt: string;
            /** Num Inference Steps */
            num_inference_steps?: number | null;
            /**
             * Steps
             * @description another name of num_inference_steps
             */
            steps?: number | null;
            /** Guidance Scale */
            guidance_scale?: number | null;
            /**
             * Guidance
             * @description another name of guidance_scale
             */
            guidance?: number | null;
            /**
             * Sampler
             * @description such as ddim, euler, euler_ancestral, heun, dpmpp_2m, unipc, lcm
             */
            sampler?: string | null;
            /** Seed */
            seed?: number | null;
            /** Candidates */
            candidates?: number | null;
            /**
             * Output Format
             * @default png
             * @enum {string}
             */
            output_format: "png" | "jpeg" | "webp" | "svg";
            /**
             * Output Compression
             * @description quality of JPEG and WebP
             * @default 95
             */
            output_compression: number;
            /**
             * Metadata
             * @description whether the picture tells how it was made; the site's own default
             */
            metadata?: boolean | null;
            /**
             * C2Pa
             * @description whether it is signed (Content Credentials), where that is offered
             * @default false
             */
            c2pa: boolean;
            /** Prompt */
            prompt: string;
            /**
             * Quality
             * @description of the steps, where none are given
             * @default auto
             * @enum {string}
             */
            quality: "auto" | "low" | "medium" | "high" | "xhigh" | "max" | "standard" | "hd";
            /**
             * Background
             * @description transparent: of models that draw on transparent ground; others are opaque
             */
            background?: ("auto" | "transparent" | "opaque") | null;
            /**
             * Stream
             * @default false
             */
            stream: boolean | null;
            /**
             * Partial Images
             * @default 0
             */
            partial_images: number | null;
            /** Safety Identifier */
            safety_identifier?: string | null;
            /**
             * Moderation
             * @description low: only what is surer is flagged or refused
             */
            moderation?: ("auto" | "low") | null;
            /**
             * Style
             * @description accepted, without effect
             */
            style?: string | null;
        };
        /** ImagesResponse */
        ImagesResponse: {
            /** Created */
            created: number;
            /** Data */
            data: components["schemas"]["ImageData"][];
            /** Size */
            size: string;
            /** Usage */
            usage: {
                [key: string]: unknown;
            };
        };
        /**
         * Img2ImgRequest
         * @example {
         *       "denoising_strength": 0.6,
         *       "init_images": [
         *         "iVBORw0KGgo="
         *       ],
         *       "prompt": "red apple, flat"
         *     }
         */
        Img2ImgRequest: {
            /**
             * Prompt
             * @default
             */
            prompt: string;
            /**
             * Negative Prompt
             * @default
             */
            negative_prompt: string;
            /**
             * Styles
             * @description names of GET prompt-styles
             */
            styles?: string[];
            /** Seed */
            seed?: number | null;
            /**
             * Sampler Name
             * @description one of GET samplers
             */
            sampler_name?: string | null;
            /**
             * Sampler Index
             * @description an older name of sampler_name
             */
            sampler_index?: string | null;
            /**
             * Scheduler
             * @description one of GET schedulers
             */
            scheduler?: string | null;
            /**
             * Batch Size
             * @default 1
             */
            batch_size: number;
            /**
             * N Iter
             * @default 1
             */
            n_iter: number;
            /** Steps */
            steps?: number | null;
            /** Cfg Scale */
            cfg_scale?: number | null;
            /** Width */
            width?: number | null;
            /** Height */
            height?: number | null;
            /**
             * @description as of POST options, for this request
             * @default {}
             */
            override_settings: components["schemas"]["OptionsRequest"];
            /**
             * Enable Hr
             * @description not offered yet: 501
             * @default false
             */
            enable_hr: boolean;
            /** Refiner Checkpoint */
            refiner_checkpoint?: string | null;
            /**
             * Firstpass Image
             * @description not offered yet: 501
             */
            firstpass_image?: unknown;
            /** Script Name */
            script_name?: string | null;
            /**
             * Alwayson Scripts
             * @description there are none: 422
             */
            alwayson_scripts?: {
                [key: string]: unknown;
            };
            /**
             * Send Images
             * @default true
             */
            send_images: boolean;
            /**
             * Force Task Id
             * @description the id of POST /internal/progress
             */
            force_task_id?: string | null;
            /** Init Images */
            init_images: string[];
            /**
             * Mask
             * @description white where the picture is drawn anew
             */
            mask?: string | null;
            /**
             * Denoising Strength
             * @description share of the steps that are done
             * @default 0.75
             */
            denoising_strength: number;
            /**
             * Resize Mode
             * @description 0: stretch, 1: crop, 2: fill, 3: as 0
             * @default 0
             */
            resize_mode: number;
            /**
             * Mask Blur
             * @description radius of the seam in pixels
             * @default 4
             */
            mask_blur: number;
            /**
             * Inpainting Fill
             * @description under the mask: 0: colours around, 1: the picture, 2: noise, 3: nothing
             * @default 0
             */
            inpainting_fill: number;
            /**
             * Inpaint Full Res
             * @description draw the masked part alone and paste it back
             * @default true
             */
            inpaint_full_res: boolean;
            /**
             * Inpaint Full Res Padding
             * @description pixels
             * @default 0
             */
            inpaint_full_res_padding: number;
            /**
             * Inpainting Mask Invert
             * @description 1: what is black is drawn anew
             * @default 0
             */
            inpainting_mask_invert: number;
            /**
             * Include Init Images
             * @default false
             */
            include_init_images: boolean;
        };
        /** IndexEntry */
        IndexEntry: {
            /** Name */
            name: string;
            /** Version */
            version: string;
            /** State */
            state: string;
            /** Reason */
            reason: string;
        };
        /**
         * InferAnswer
         * @example {
         *       "model_name": "plus_one",
         *       "model_version": "1",
         *       "outputs": [
         *         {
         *           "data": [
         *             1,
         *             2,
         *             3,
         *             4
         *           ],
         *           "datatype": "FP32",
         *           "name": "x",
         *           "shape": [
         *             1,
         *             4
         *           ]
         *         }
         *       ]
         *     }
         */
        InferAnswer: {
            /** Model Name */
            model_name: string;
            /** Model Version */
            model_version: string;
            /** Id */
            id?: string | null;
            /** Parameters */
            parameters?: {
                [key: string]: unknown;
            } | null;
            /** Outputs */
            outputs: components["schemas"]["TensorBody"][];
        };
        /** InterrogateRequest */
        InterrogateRequest: {
            /** Image */
            image: string | null;
            /**
             * Model
             * @description clip, deepdanbooru or deepbooru
             * @default clip
             */
            model: string;
        };
        /** JobInfo */
        JobInfo: {
            /** Request Id */
            request_id: string;
            /**
             * Status Url
             * Format: uri
             */
            status_url: string;
            /**
             * Response Url
             * Format: uri
             */
            response_url: string;
            /**
             * Cancel Url
             * Format: uri
             */
            cancel_url: string;
            /**
             * Events Url
             * Format: uri
             */
            events_url: string;
            /**
             * Socket Url
             * Format: uri
             */
            socket_url: string;
            /** Id */
            id: string;
            /** User Id */
            user_id: string;
            /** Kind */
            kind: string;
            /** Lane */
            lane: string;
            /**
             * Status
             * @enum {string}
             */
            status: "pending" | "processing" | "paused" | "completed" | "failed" | "cancelled";
            /**
             * Wish
             * @description a request that its worker has still to carry out
             */
            wish: ("cancel" | "pause") | null;
            /** Priority */
            priority: number;
            /** Prompt */
            prompt: string;
            /**
             * Position
             * @description 1 starts next
             */
            position: number | null;
            /** Estimated S */
            estimated_s: number | null;
            /** Progress */
            progress: number;
            /** Attempt */
            attempt: number;
            /** Batch Id */
            batch_id: string | null;
            /** Retried From */
            retried_from: string | null;
            /** Cached */
            cached: boolean;
            /** Error */
            error: {
                [key: string]: unknown;
            } | null;
            /** Details */
            details: {
                [key: string]: unknown;
            } | null;
            /** Generation Time S */
            generation_time_s: number | null;
            /** Step */
            step: number | null;
            /** Steps */
            steps: number | null;
            /** Preview Url */
            preview_url: string | null;
            /** Last Event */
            last_event: number;
            /** Parameters */
            parameters: {
                [key: string]: unknown;
            };
            /** Results */
            results: {
                [key: string]: unknown;
            }[];
            /** Created At */
            created_at: string | null;
            /** Started At */
            started_at: string | null;
            /** Completed At */
            completed_at: string | null;
            /** Expires At */
            expires_at: string | null;
        };
        /** JobResult */
        JobResult: {
            /** Id */
            id: string;
            /**
             * Status
             * @constant
             */
            status: "completed";
            /** Kind */
            kind: string;
            /** Cached */
            cached: boolean;
            /** Results */
            results: components["schemas"]["serve__api__jobs__models__ResultInfo"][];
            /** Details */
            details?: unknown;
            /** Generation Time S */
            generation_time_s: number | null;
            /** Completed At */
            completed_at: string | null;
        };
        /** JobsPage */
        JobsPage: {
            /** Jobs */
            jobs: components["schemas"]["JobInfo"][];
            /**
             * Next Cursor
             * @description None at the end.
             */
            next_cursor: string | null;
        };
        /** KeyInfo */
        KeyInfo: {
            /**
             * Id
             * @description No secret: it only names the key.
             */
            id: string;
            /** User Id */
            user_id: string;
            /** Name */
            name: string;
            /** Scopes */
            scopes: ("read" | "write" | "generate" | "inference" | "metrics" | "admin")[];
            /**
             * Created At
             * Format: date-time
             */
            created_at: string;
            /** Expires At */
            expires_at: string | null;
            /**
             * Used At
             * @description to the minute
             */
            used_at: string | null;
            /** Revoked At */
            revoked_at: string | null;
            /**
             * Status
             * @enum {string}
             */
            status: "active" | "expired" | "revoked";
        };
        /** KeysResponse */
        KeysResponse: {
            /** Keys */
            keys: components["schemas"]["KeyInfo"][];
            /**
             * Next Cursor
             * @description None at the end.
             */
            next_cursor: string | null;
        };
        /** KindCounts */
        KindCounts: {
            /** Total */
            total: number;
            /** Successes */
            successes: number;
            /** Success Rate */
            success_rate: number | null;
            /** Average Generation Time S */
            average_generation_time_s: number | null;
            /** Kind */
            kind: string;
        };
        /** LaneInfo */
        LaneInfo: {
            /** Pending */
            pending: number;
            /** Processing */
            processing: number;
            /** Paused */
            paused: number;
            /** Slots */
            slots: number;
            /** Is Paused */
            is_paused: boolean;
        };
        /** LaneState */
        LaneState: {
            /**
             * Lane
             * @enum {string}
             */
            lane: "illustrate" | "vectorize";
            /** Is Paused */
            is_paused: boolean;
        };
        /** LimitsOffer */
        LimitsOffer: {
            /** Max Upload Bytes */
            max_upload_bytes: number;
            /** Max Prompt Characters */
            max_prompt_characters: number;
            /** Max Pictures */
            max_pictures: number;
            /** Max Steps */
            max_steps: number;
            /** Max Guidance */
            max_guidance: number;
            /**
             * Max Batch
             * @description jobs in one batch
             */
            max_batch: number;
        };
        /** LiveResponse */
        LiveResponse: {
            /**
             * Status
             * @constant
             */
            status: "live";
        };
        /** MainMemory */
        MainMemory: {
            /**
             * Free
             * @example 8589934592
             */
            free: number;
            /**
             * Used
             * @example 8589934592
             */
            used: number;
            /**
             * Total
             * @example 8589934592
             */
            total: number;
        };
        /** MeResponse */
        MeResponse: {
            /** User Id */
            user_id: string;
            /**
             * Role
             * @example user
             */
            role: string;
            /** Scopes */
            scopes: ("read" | "write" | "generate" | "inference" | "metrics" | "admin")[];
            /** Key Id */
            key_id: string | null;
            /** Name */
            name: string;
        };
        /** MemoryContext */
        MemoryContext: {
            /** Title */
            title?: string | null;
            /** Content */
            content?: string | null;
            /** Date */
            date?: string | null;
        };
        /** MemoryResponse */
        MemoryResponse: {
            ram: components["schemas"]["MainMemory"];
            cuda: components["schemas"]["GpuMemory"];
        };
        /**
         * Metrics
         * @description Of `serve.releases.experiments.report`.
         */
        Metrics: {
            conversion_rate: components["schemas"]["Estimate"];
            error_rate: components["schemas"]["Estimate"];
            mean_rating: components["schemas"]["Estimate"];
            mean_quality: components["schemas"]["Estimate"];
            mean_time_s: components["schemas"]["Estimate"];
        };
        /** ModelCard */
        ModelCard: {
            /**
             * Id
             * @example mini
             */
            id: string;
            /**
             * Object
             * @constant
             */
            object: "model";
            /**
             * Created
             * @description Unix time
             */
            created: number;
            /**
             * Owned By
             * @example atelier
             */
            owned_by: string;
        };
        /**
         * ModelConfig
         * @example {
         *       "max_batch_size": 8,
         *       "name": "plus_one",
         *       "platform": "onnxruntime_onnx"
         *     }
         */
        ModelConfig: {
            /** Name */
            name: string;
        } & {
            [key: string]: unknown;
        };
        /** ModelCounts */
        ModelCounts: {
            /** Total */
            total: number;
            /** Successes */
            successes: number;
            /** Success Rate */
            success_rate: number | null;
            /** Average Generation Time S */
            average_generation_time_s: number | null;
            /** Model */
            model: string | null;
        };
        /** ModelInfo */
        ModelInfo: {
            /** Versions */
            versions: {
                [key: string]: string;
            };
            /**
             * Inference Engine
             * @example exported_models
             */
            inference_engine: string;
        };
        /** ModelItem */
        ModelItem: {
            /**
             * Title
             * @example mini
             */
            title: string;
            /** Model Name */
            model_name: string;
            /**
             * Hash
             * @example 1
             */
            hash: string | null;
            /** Sha256 */
            sha256: null;
            /**
             * Filename
             * @example mini
             */
            filename: string;
            /** Config */
            config: null;
        };
        /** ModelList */
        ModelList: {
            /**
             * Object
             * @constant
             */
            object: "list";
            /** Data */
            data: components["schemas"]["ModelCard"][];
        };
        /** ModelMetadata */
        ModelMetadata: {
            /** Name */
            name: string;
            /** Versions */
            versions: string[];
            /** Platform */
            platform: string;
            /** Inputs */
            inputs: components["schemas"]["TensorDescription"][];
            /** Outputs */
            outputs: components["schemas"]["TensorDescription"][];
        } & {
            [key: string]: unknown;
        };
        /** ModelReady */
        ModelReady: {
            /** Name */
            name: string;
            /** Ready */
            ready: boolean;
        };
        /** ModelStatistics */
        ModelStatistics: {
            /** Name */
            name: string;
            /** Version */
            version: string;
            /**
             * Last Inference
             * @default 0
             */
            last_inference: number;
            /**
             * Inference Count
             * @default 0
             */
            inference_count: number;
            /**
             * Execution Count
             * @default 0
             */
            execution_count: number;
            /**
             * Inference Stats
             * @default {}
             */
            inference_stats: {
                [key: string]: components["schemas"]["Count"];
            };
        } & {
            [key: string]: unknown;
        };
        /**
         * NewKeyRequest
         * @example {
         *       "expires_in_s": 2592000,
         *       "name": "laptop",
         *       "role": "user",
         *       "user_id": "ada"
         *     }
         */
        NewKeyRequest: {
            /**
             * User Id
             * @example ada
             */
            user_id: string;
            /**
             * Role
             * @description makes the user, if there is none
             */
            role?: ("admin" | "user" | "read-only") | null;
            /**
             * Scopes
             * @description some of the role's; all of them by default
             */
            scopes?: ("read" | "write" | "generate" | "inference" | "metrics" | "admin")[] | null;
            /**
             * Name
             * @default
             */
            name: string;
            /**
             * Expires In S
             * @description seconds
             */
            expires_in_s?: number | null;
        };
        /** NewKeyResponse */
        NewKeyResponse: {
            /**
             * Id
             * @description No secret: it only names the key.
             */
            id: string;
            /** User Id */
            user_id: string;
            /** Name */
            name: string;
            /** Scopes */
            scopes: ("read" | "write" | "generate" | "inference" | "metrics" | "admin")[];
            /**
             * Created At
             * Format: date-time
             */
            created_at: string;
            /** Expires At */
            expires_at: string | null;
            /**
             * Used At
             * @description to the minute
             */
            used_at: string | null;
            /** Revoked At */
            revoked_at: string | null;
            /**
             * Status
             * @enum {string}
             */
            status: "active" | "expired" | "revoked";
            /**
             * Role
             * @enum {string}
             */
            role: "admin" | "user" | "read-only";
            /**
             * Key
             * @description The whole key.
             * @example atelier_k7d1e0f3a_…
             */
            key: string;
        };
        /**
         * NewUserRequest
         * @example {
         *       "id": "ada",
         *       "name": "Ada",
         *       "role": "user"
         *     }
         */
        NewUserRequest: {
            /**
             * Id
             * @example ada
             */
            id: string;
            /**
             * Role
             * @default user
             * @enum {string}
             */
            role: "admin" | "user" | "read-only";
            /**
             * Name
             * @default
             */
            name: string;
        };
        /** OfferResponse */
        OfferResponse: {
            /** Version */
            version: string;
            /** Families */
            families: components["schemas"]["FamilyOffer"][];
            /**
             * Keeps
             * @description whether there are jobs, a gallery and references
             */
            keeps: boolean;
            /**
             * Mask Fills
             * @description what is under a mask before the first step
             */
            mask_fills: string[];
            limits: components["schemas"]["LimitsOffer"];
        };
        /**
         * OptionsRequest
         * @description The options that have an effect here.
         * @example {
         *       "samples_format": "png"
         *     }
         */
        OptionsRequest: {
            /** Sd Model Checkpoint */
            sd_model_checkpoint?: string | null;
            /**
             * Samples Format
             * @enum {unknown}
             */
            samples_format?: "png" | "jpg" | "jpeg" | "webp" | null;
            /** Live Previews Enable */
            live_previews_enable?: boolean | null;
            /**
             * Enable Pnginfo
             * @description whether pictures say how they were made
             */
            enable_pnginfo?: boolean | null;
        };
        /** OptionsResponse */
        OptionsResponse: {
            /**
             * Sd Model Checkpoint
             * @example mini
             */
            sd_model_checkpoint: string | null;
            /**
             * Samples Format
             * @enum {string}
             */
            samples_format: "png" | "jpg" | "jpeg" | "webp";
            /** Live Previews Enable */
            live_previews_enable: boolean;
            /**
             * Enable Pnginfo
             * @description whether pictures say how they were made
             */
            enable_pnginfo: boolean;
            /**
             * Sd Checkpoint Hash
             * @example 1
             */
            sd_checkpoint_hash: string | null;
            /**
             * Sd Vae
             * @example Automatic
             */
            sd_vae: string;
            /** Clip Stop At Last Layers */
            CLIP_stop_at_last_layers: number;
            /**
             * Sd Lora
             * @example None
             */
            sd_lora: string;
            /** Return Grid */
            return_grid: boolean;
            /**
             * Show Progress Type
             * @example Approx NN
             */
            show_progress_type: string;
        };
        /**
         * OutpaintFields
         * @description Pixels that are added on each side.
         */
        OutpaintFields: {
            /**
             * Left
             * @default 0
             */
            left: number;
            /**
             * Top
             * @default 0
             */
            top: number;
            /**
             * Right
             * @default 0
             */
            right: number;
            /**
             * Bottom
             * @default 0
             */
            bottom: number;
        };
        /** OwnCostsResponse */
        OwnCostsResponse: {
            /** Requests */
            requests: number;
            /** Cpu Seconds */
            cpu_seconds: number;
            /** Gpu Seconds */
            gpu_seconds: number;
            /** Money */
            money: number | null;
            /** User Id */
            user_id: string;
            /**
             * Since
             * Format: date-time
             */
            since: string;
            /**
             * Currency
             * @example EUR
             */
            currency: string;
        };
        /** PendingResponse */
        PendingResponse: {
            /** Size */
            size: number;
            /** Tasks */
            tasks: string[];
        };
        /** PictureRequest */
        PictureRequest: {
            /**
             * Image
             * @description in base64, or a data: URL
             * @example iVBORw0KGgo=
             */
            image: string;
        };
        /** PngInfoResponse */
        PngInfoResponse: {
            /**
             * Info
             * @example red apple, flat
             *     Steps: 8, Sampler: Euler, Seed: 7
             */
            info: string;
            /**
             * Items
             * @description its other texts
             * @example {
             *       "Software": "Atelier"
             *     }
             */
            items: {
                [key: string]: string;
            };
            /**
             * Parameters
             * @example {
             *       "Prompt": "red apple, flat",
             *       "Steps": "8"
             *     }
             */
            parameters: {
                [key: string]: string;
            };
        };
        /** PresetsResponse */
        PresetsResponse: {
            /**
             * Categories
             * @example {
             *       "portrait": [
             *         {
             *           "name": "studio",
             *           "negative_prompt": "crowd, cut off, text",
             *           "prompt": "portrait of {prompt}, head and shoulders, plain background, soft light"
             *         }
             *       ]
             *     }
             */
            categories: {
                [key: string]: components["schemas"]["TemplateInfo"][];
            };
            /** Qualities */
            qualities: components["schemas"]["QualityInfo"][];
        };
        /**
         * PriorityBody
         * @example {
         *       "priority": "high"
         *     }
         */
        PriorityBody: {
            /**
             * Priority
             * @default 0
             */
            priority: number | ("low" | "normal" | "high");
        };
        /** ProgressResponse */
        ProgressResponse: {
            /** Progress */
            progress: number;
            /**
             * Eta Relative
             * @description seconds; 0 while it is not known
             */
            eta_relative: number;
            state: components["schemas"]["ProgressState"];
            /**
             * Current Image
             * @description in base64
             * @example iVBORw0KGgo=
             */
            current_image: string | null;
            /**
             * Textinfo
             * @example Queued...
             */
            textinfo: string | null;
        };
        /** ProgressState */
        ProgressState: {
            /** Skipped */
            skipped: boolean;
            /** Interrupted */
            interrupted: boolean;
            /** Stopping Generation */
            stopping_generation: boolean;
            /**
             * Job
             * @description or empty
             * @example task(abc)
             */
            job: string;
            /** Job Count */
            job_count: number;
            /**
             * Job Timestamp
             * @example 20260501120000
             */
            job_timestamp: string;
            /** Job No */
            job_no: number;
            /**
             * Sampling Step
             * @description of each picture
             */
            sampling_step: number;
            /** Sampling Steps */
            sampling_steps: number;
        };
        /**
         * PromoteRequest
         * @example {
         *       "version": "2"
         *     }
         */
        PromoteRequest: {
            /**
             * Version
             * @description else the candidate
             * @example 2
             */
            version?: string;
        };
        /** QualityInfo */
        QualityInfo: {
            /** Name */
            name: string;
            /** Description */
            description: string;
            /** Steps Factor */
            steps_factor: number;
            /**
             * Steps
             * @description by model
             * @example {
             *       "mini": 10
             *     }
             */
            steps: {
                [key: string]: number;
            };
        };
        /** QualityResponse */
        QualityResponse: {
            /** Total */
            total: number;
            /** Successes */
            successes: number;
            /** Success Rate */
            success_rate: number | null;
            /** Average Generation Time S */
            average_generation_time_s: number | null;
            /**
             * Range
             * @example 7d
             */
            range: string;
            /**
             * Since
             * Format: date-time
             */
            since: string;
            /**
             * Until
             * Format: date-time
             */
            until: string;
            /** Cached */
            cached: number;
            /** Cache Hit Rate */
            cache_hit_rate: number | null;
            /** P50 Generation Time S */
            p50_generation_time_s: number | null;
            /** P95 Generation Time S */
            p95_generation_time_s: number | null;
            /** By Model */
            by_model: components["schemas"]["ModelCounts"][];
            /** By Kind */
            by_kind: components["schemas"]["KindCounts"][];
            /** Errors */
            errors: components["schemas"]["ErrorCount"][];
            /** By Day */
            by_day: components["schemas"]["DayCounts"][];
        };
        /** QueueInfo */
        QueueInfo: {
            /** Lanes */
            lanes: {
                [key: string]: components["schemas"]["LaneInfo"];
            };
            /** Pending */
            pending: number;
            /** Processing */
            processing: number;
            /** Paused */
            paused: number;
        };
        /**
         * QueueStatus
         * @description In fal's words.
         */
        QueueStatus: {
            /** Request Id */
            request_id: string;
            /**
             * Status Url
             * Format: uri
             */
            status_url: string;
            /**
             * Response Url
             * Format: uri
             */
            response_url: string;
            /**
             * Cancel Url
             * Format: uri
             */
            cancel_url: string;
            /**
             * Events Url
             * Format: uri
             */
            events_url: string;
            /**
             * Socket Url
             * Format: uri
             */
            socket_url: string;
            /**
             * Status
             * @enum {string}
             */
            status: "IN_QUEUE" | "IN_PROGRESS" | "COMPLETED";
            /**
             * Queue Position
             * @description jobs that start before it
             */
            queue_position: number | null;
            /** Logs */
            logs: unknown[];
            /**
             * Error
             * @default
             */
            error: string;
            /**
             * Error Type
             * @default
             */
            error_type: string;
        };
        /** ReadyResponse */
        ReadyResponse: {
            /**
             * Status
             * @enum {string}
             */
            status: "ready" | "not ready";
            /**
             * Asleep
             * @description Ensembles that the first request wakes
             * @default []
             */
            asleep: string[];
            /**
             * Engines
             * @description Where no key is needed
             * @default {}
             */
            engines: {
                [key: string]: components["schemas"]["EngineHealth"];
            };
        };
        /**
         * ReferenceForm
         * @description Either a picture or the address of one.
         * @example {
         *       "image": "the bytes of bella.png",
         *       "subject_name": "Bella"
         *     }
         */
        ReferenceForm: {
            /**
             * Image
             * Format: binary
             * @description PNG, JPEG, WebP, GIF, BMP, TIFF, or SVG; only its pixels are kept, upright
             */
            image?: string;
            /**
             * Url
             * Format: uri
             * @description instead of image: where it is, https: or data:
             */
            url?: string | null;
            /** Subject Name */
            subject_name: string;
            /** User Id */
            user_id?: string | null;
        } | unknown | unknown;
        /** ReferenceInfo */
        ReferenceInfo: {
            /** Id */
            id: string;
            /** User Id */
            user_id: string;
            /** Subject Name */
            subject_name: string;
            /** File Name */
            file_name: string;
            /** Md5 */
            md5: string;
            /** Created At */
            created_at: string;
            /** Width */
            width: number;
            /** Height */
            height: number;
            /** Bytes */
            bytes: number;
            /**
             * Url
             * Format: uri
             */
            url: string;
            /**
             * Image Url
             * Format: uri
             */
            image_url: string;
            /**
             * Thumbnail Url
             * Format: uri
             */
            thumbnail_url: string;
        };
        /** ReferencesPage */
        ReferencesPage: {
            /** Items */
            items: components["schemas"]["ReferenceInfo"][];
            /** Next Cursor */
            next_cursor: string | null;
        };
        /** ReportResponse */
        ReportResponse: {
            /**
             * Engine
             * @example quality
             */
            engine: string;
            /** Since */
            since: string | null;
            /** Until */
            until: string | null;
            /** Enough */
            enough: boolean;
            /**
             * Note
             * @description why versions are not compared yet
             */
            note: string | null;
            /** Versions */
            versions: components["schemas"]["ComparedVersion"][];
            /** @description of two: the second less the first */
            difference: components["schemas"]["Metrics"] | null;
        };
        /** ResultMetadata */
        ResultMetadata: {
            /** Id */
            id: string;
            /** Generation Id */
            generation_id: string;
            /** Place */
            place: number;
            /** Media Type */
            media_type: string;
            /** Width */
            width: number | null;
            /** Height */
            height: number | null;
            /** Bytes */
            bytes: number;
            /** Seed */
            seed: number | null;
            /** Score */
            score: number | null;
            /** Model */
            model: string | null;
            /** Details */
            details?: unknown;
            /** Sha256 */
            sha256: string;
            /**
             * Created At
             * Format: date-time
             */
            created_at: string;
            /** Url */
            url: string;
            /** Thumbnail Url */
            thumbnail_url: string;
            /**
             * Generation
             * @example {
             *       "kind": "illustrate",
             *       "model": "mini",
             *       "prompt": "red apple, flat"
             *     }
             */
            generation: {
                [key: string]: unknown;
            };
        };
        /** ResultUrl */
        ResultUrl: {
            /**
             * Url
             * Format: uri
             */
            url: string;
        };
        /**
         * RollbackRequest
         * @example {
         *       "version": "2"
         *     }
         */
        RollbackRequest: {
            /**
             * Version
             * @description to get no traffic any more; else the candidate, or the current version where there is none
             * @example 2
             */
            version?: string;
        };
        /** RolloutResponse */
        RolloutResponse: {
            /**
             * Engine
             * @example quality
             */
            engine: string;
            /**
             * Current
             * @description the name of its folder
             * @example 2
             */
            current: string;
            /**
             * Previous
             * @example 1
             */
            previous: string | null;
            /**
             * Candidate
             * @example null
             */
            candidate: string | null;
            /**
             * Percentage
             * @description of users, the candidate's
             * @example 10
             */
            percentage: number;
        };
        /** SamplerItem */
        SamplerItem: {
            /**
             * Name
             * @example Euler
             */
            name: string;
            /**
             * Aliases
             * @example [
             *       "euler"
             *     ]
             */
            aliases: string[];
            /**
             * Options
             * @example {
             *       "scheduler": "karras"
             *     }
             */
            options: {
                [key: string]: string;
            };
        };
        /** SchedulerItem */
        SchedulerItem: {
            /**
             * Name
             * @example karras
             */
            name: string;
            /**
             * Label
             * @example Karras
             */
            label: string;
            /** Aliases */
            aliases: null;
            /**
             * Default Rho
             * @description -1: it has none
             * @example 7
             */
            default_rho: number;
            /** Need Inner Model */
            need_inner_model: boolean;
        };
        /** ScriptsResponse */
        ScriptsResponse: {
            /** Txt2Img */
            txt2img: {
                [key: string]: unknown;
            }[];
            /** Img2Img */
            img2img: {
                [key: string]: unknown;
            }[];
        };
        /** SeededPicture */
        SeededPicture: {
            /**
             * Image Url
             * Format: uri
             * @description where it is kept; a data: URL where nothing is kept
             */
            image_url: string;
            /** Seed */
            seed: number | null;
        };
        /** Server */
        Server: {
            /**
             * Name
             * @example atelier
             */
            name: string;
            /**
             * Version
             * @example 0.1.0
             */
            version: string;
            /**
             * Extensions
             * @example [
             *       "binary_tensor_data",
             *       "statistics"
             *     ]
             */
            extensions: string[];
        };
        /** ServerHealth */
        ServerHealth: {
            /** Live */
            live: boolean;
            /** Ready */
            ready: boolean;
        };
        /** SessionResponse */
        SessionResponse: {
            /**
             * Required
             * @description whether the site needs a key
             */
            required: boolean;
            /** User Id */
            user_id: string | null;
            /** Role */
            role: string | null;
            /** Scopes */
            scopes: ("read" | "write" | "generate" | "inference" | "metrics" | "admin")[];
        };
        /** SignInRequest */
        SignInRequest: {
            /**
             * Key
             * @description an API key
             */
            key: string;
        };
        /**
         * SplitRequest
         * @example {
         *       "percentage": 10
         *     }
         */
        SplitRequest: {
            /**
             * Percentage
             * @description of all users
             */
            percentage: number;
        };
        /** Statistics */
        Statistics: {
            /** Model Stats */
            model_stats: components["schemas"]["ModelStatistics"][];
        };
        /** StyleChoice */
        StyleChoice: {
            /** Name */
            name: string;
            /**
             * Weight
             * @default 1
             */
            weight: number;
        };
        /** StyleInfo */
        StyleInfo: {
            /** Name */
            name: string;
            /**
             * Kind
             * @enum {string}
             */
            kind: "style" | "palette" | "mood";
            /** Prompt */
            prompt: string;
            /** Negative Prompt */
            negative_prompt: string;
            /** Colors */
            colors: string[];
            /** Num Inference Steps */
            num_inference_steps: number | null;
            /** Guidance Scale */
            guidance_scale: number | null;
            /** Sampler */
            sampler: string | null;
        };
        /** StyleItem */
        StyleItem: {
            /**
             * Name
             * @example portrait/studio
             */
            name: string;
            /** Prompt */
            prompt: string;
            /** Negative Prompt */
            negative_prompt: string;
        };
        /** StylePreferences */
        StylePreferences: {
            /** Artisticstyle */
            artisticStyle?: string | null;
            /**
             * Colorpalette
             * @description text, or names of colours
             */
            colorPalette?: string | string[];
            /** Mood */
            mood?: string | null;
        };
        /** StylesResponse */
        StylesResponse: {
            /**
             * Artistic Styles
             * @description of stylePreferences.artisticStyle, and of styles
             */
            artistic_styles: components["schemas"]["StyleInfo"][];
            /**
             * Color Palettes
             * @description of stylePreferences.colorPalette
             */
            color_palettes: components["schemas"]["StyleInfo"][];
            /**
             * Moods
             * @description of stylePreferences.mood
             */
            moods: components["schemas"]["StyleInfo"][];
        };
        /**
         * TaskProgressRequest
         * @example {
         *       "id_task": "task(abc)"
         *     }
         */
        TaskProgressRequest: {
            /**
             * Id Task
             * @default
             */
            id_task: string;
            /**
             * Id Live Preview
             * @description the last one that the client has
             * @default -1
             */
            id_live_preview: number;
            /**
             * Live Preview
             * @default true
             */
            live_preview: boolean;
        };
        /** TaskProgressResponse */
        TaskProgressResponse: {
            /** Active */
            active: boolean;
            /** Queued */
            queued: boolean;
            /** Paused */
            paused: boolean;
            /** Completed */
            completed: boolean;
            /**
             * Progress
             * @example 0.4
             */
            progress: number | null;
            /**
             * Eta
             * @description seconds
             * @example 1.5
             */
            eta: number | null;
            /**
             * Live Preview
             * @description a data: URL
             * @example data:image/jpeg;base64,iVBORw0KGgo=
             */
            live_preview: string | null;
            /** Id Live Preview */
            id_live_preview: number;
            /**
             * Textinfo
             * @example Queued...
             */
            textinfo: string | null;
        };
        /** TemplateInfo */
        TemplateInfo: {
            /** Name */
            name: string;
            /** Prompt */
            prompt: string;
            /** Negative Prompt */
            negative_prompt: string;
        };
        /** TensorBody */
        TensorBody: {
            /**
             * Name
             * @example plus_one
             */
            name: string;
            /** Datatype */
            datatype: string;
            /**
             * Shape
             * @example [
             *       1,
             *       4
             *     ]
             */
            shape: number[];
            /**
             * Parameters
             * @description Values are text, numbers or flags.
             * @example {}
             */
            parameters?: {
                [key: string]: unknown;
            };
            /**
             * Data
             * @description Row-major; nested or flat.
             */
            data?: unknown[];
        };
        /** TensorDescription */
        TensorDescription: {
            /** Name */
            name: string;
            /** Datatype */
            datatype: string;
            /**
             * Shape
             * @example [
             *       1,
             *       4
             *     ]
             */
            shape: number[];
        };
        /**
         * Txt2ImgRequest
         * @example {
         *       "prompt": "red apple, flat",
         *       "sampler_name": "Euler",
         *       "seed": 7,
         *       "steps": 8
         *     }
         */
        Txt2ImgRequest: {
            /**
             * Prompt
             * @default
             */
            prompt: string;
            /**
             * Negative Prompt
             * @default
             */
            negative_prompt: string;
            /**
             * Styles
             * @description names of GET prompt-styles
             */
            styles?: string[];
            /** Seed */
            seed?: number | null;
            /**
             * Sampler Name
             * @description one of GET samplers
             */
            sampler_name?: string | null;
            /**
             * Sampler Index
             * @description an older name of sampler_name
             */
            sampler_index?: string | null;
            /**
             * Scheduler
             * @description one of GET schedulers
             */
            scheduler?: string | null;
            /**
             * Batch Size
             * @default 1
             */
            batch_size: number;
            /**
             * N Iter
             * @default 1
             */
            n_iter: number;
            /** Steps */
            steps?: number | null;
            /** Cfg Scale */
            cfg_scale?: number | null;
            /** Width */
            width?: number | null;
            /** Height */
            height?: number | null;
            /**
             * @description as of POST options, for this request
             * @default {}
             */
            override_settings: components["schemas"]["OptionsRequest"];
            /**
             * Enable Hr
             * @description not offered yet: 501
             * @default false
             */
            enable_hr: boolean;
            /** Refiner Checkpoint */
            refiner_checkpoint?: string | null;
            /**
             * Firstpass Image
             * @description not offered yet: 501
             */
            firstpass_image?: unknown;
            /** Script Name */
            script_name?: string | null;
            /**
             * Alwayson Scripts
             * @description there are none: 422
             */
            alwayson_scripts?: {
                [key: string]: unknown;
            };
            /**
             * Send Images
             * @default true
             */
            send_images: boolean;
            /**
             * Force Task Id
             * @description the id of POST /internal/progress
             */
            force_task_id?: string | null;
        };
        /** Txt2ImgResponse */
        Txt2ImgResponse: {
            /** Images */
            images: string[];
            /** Parameters */
            parameters: {
                [key: string]: unknown;
            };
            /**
             * Info
             * @description a JSON object
             * @example {}
             */
            info: string;
        };
        /** UpscaledBatchResponse */
        UpscaledBatchResponse: {
            /**
             * Html Info
             * @example
             */
            html_info: string;
            /** Images */
            images: string[];
        };
        /** UpscaledResponse */
        UpscaledResponse: {
            /**
             * Html Info
             * @example
             */
            html_info: string;
            /**
             * Image
             * @description in base64
             * @example iVBORw0KGgo=
             */
            image: string;
        };
        /**
         * UserChange
         * @example {
         *       "role": "read-only"
         *     }
         */
        UserChange: {
            /** Role */
            role?: ("admin" | "user" | "read-only") | null;
            /** Disabled */
            disabled?: boolean | null;
        };
        /** UserInfo */
        UserInfo: {
            /**
             * Id
             * @example ada
             */
            id: string;
            /** Name */
            name: string;
            /**
             * Role
             * @enum {string}
             */
            role: "admin" | "user" | "read-only";
            /**
             * Created At
             * Format: date-time
             */
            created_at: string;
            /** Disabled At */
            disabled_at: string | null;
        };
        /** UsersResponse */
        UsersResponse: {
            /** Users */
            users: components["schemas"]["UserInfo"][];
            /**
             * Next Cursor
             * @description None at the end.
             */
            next_cursor: string | null;
        };
        /** VersionInfo */
        VersionInfo: {
            /**
             * Engine
             * @example quality
             */
            engine: string;
            /**
             * Version
             * @description the name of its folder
             * @example 2
             */
            version: string;
            /**
             * Label
             * @description as answers have it, in `model_versions`
             * @example 1.4
             */
            label: string | null;
            /**
             * Role
             * @enum {string}
             */
            role: "current" | "candidate" | "previous" | "there";
            /**
             * Percentage
             * @description of all users
             * @example 10
             */
            percentage: number;
            /**
             * Replicas
             * @description that have loaded it
             * @example 2
             */
            replicas: number;
            /**
             * Of
             * @description replicas that have the engine
             * @example 2
             */
            of: number;
            /**
             * Failure
             * @description the reason of a replica that cannot serve it
             * @example
             */
            failure: string;
        };
        /**
         * VersionRequest
         * @example {
         *       "version": "2"
         *     }
         */
        VersionRequest: {
            /**
             * Version
             * @description the name of its folder
             * @example 2
             */
            version: string;
        };
        /** VersionsResponse */
        VersionsResponse: {
            /** Models */
            models: components["schemas"]["VersionInfo"][];
        };
        /** FlagsResponse */
        serve__api__a1111__models__FlagsResponse: {
            /** Api */
            api: boolean;
            /** Nowebui */
            nowebui: boolean;
            /** Api Server Stop */
            api_server_stop: boolean;
        };
        /** FlagsResponse */
        serve__api__admin__releases__FlagsResponse: {
            /** Flags */
            flags: components["schemas"]["FlagInfo"][];
        };
        /** ResultInfo */
        serve__api__jobs__models__ResultInfo: {
            /** Id */
            id: string;
            /** Media Type */
            media_type: string;
            /**
             * Url
             * Format: uri
             */
            url: string;
        };
        /** ResultInfo */
        serve__api__library__generations__ResultInfo: {
            /** Id */
            id: string;
            /** Model */
            model: string | null;
            /**
             * Image Url
             * Format: uri
             */
            image_url: string;
            /**
             * Thumbnail Url
             * Format: uri
             */
            thumbnail_url: string;
            /** Score */
            score: number | null;
            /** Metadata */
            metadata: {
                [key: string]: unknown;
            };
            /**
             * Generated At
             * Format: date-time
             */
            generated_at: string;
        };
        Problem: {
            type: string;
            title: string;
            status: number;
            detail: string;
            field: string | null;
            request_id?: string | null;
            /** @constant */
            success: false;
            error: string;
            /** @constant */
            fallback_used: false;
        };
        OpenInferenceError: {
            error: string;
        };
        OpenAIError: {
            error: {
                message: string;
                /** @enum {string} */
                type: "invalid_request_error" | "server_error" | "insufficient_quota" | "authentication_error" | "permission_error" | "requests";
                param: string | null;
                code: string | null;
            };
        };
        A1111Error: {
            error: string;
            detail: string;
            body: string;
            errors: string;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
