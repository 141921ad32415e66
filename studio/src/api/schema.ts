// Made from /openapi.json by `make studio-types`. Do not edit.
export type paths = Record<string, never>;
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /**
         * ActRequest
         * @example {
         *       "actionId": "9f86d081884c7d65",
         *       "confirm": true,
         *       "conversationId": "5f0c6f3f0b7e4f6f9c7d2a1b3e4d5c6f"
         *     }
         */
        ActRequest: {
            /** Conversationid */
            conversationId: string;
            /** Actionid */
            actionId: string;
            /**
             * Confirm
             * @description False declines it.
             */
            confirm: boolean;
            /** Userid */
            userId?: string | null;
        };
        /** ActResponse */
        ActResponse: {
            /** Conversationid */
            conversationId: string;
            /** Actionid */
            actionId: string;
            /**
             * Status
             * @enum {string}
             */
            status: "done" | "declined";
            /**
             * Jobids
             * @description Jobs that it put on the queue.
             */
            jobIds: string[];
        };
        /** ActionInfo */
        ActionInfo: {
            /** Id */
            id: string;
            /**
             * Tool
             * @enum {string}
             */
            tool: "draw" | "vary" | "vectorise";
            /**
             * Arguments
             * @example {
             *       "prompt": "a red fox in a forest, watercolour"
             *     }
             */
            arguments: {
                [key: string]: unknown;
            };
            /**
             * Status
             * @enum {string}
             */
            status: "proposed" | "done" | "declined";
        };
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
        /** AlgorithmOutcome */
        AlgorithmOutcome: {
            /**
             * Algorithm
             * @enum {string}
             */
            algorithm: "epsilon_greedy" | "ucb" | "thompson";
            /** Users */
            users: number;
            /** Interactions */
            interactions: number;
            /**
             * Meanreward
             * @description The mean of the users' means; None below two users.
             */
            meanReward: number | null;
            /**
             * Low
             * @description Of the 95 % confidence interval.
             */
            low: number | null;
            /** High */
            high: number | null;
        };
        /** AlgorithmsResponse */
        AlgorithmsResponse: {
            /**
             * Algorithms
             * @description Of taste.compared, in its order.
             */
            algorithms: components["schemas"]["AlgorithmOutcome"][];
        };
        /** AnalysisInfo */
        AnalysisInfo: {
            /**
             * Language
             * @description ISO 639-1; None where it is not clear.
             * @example en
             */
            language: string | null;
            sentiment: components["schemas"]["SentimentInfo"];
            keywords: components["schemas"]["Keywords"];
            /**
             * Excluded
             * @description What the prompt does not want.
             */
            excluded: components["schemas"]["KeywordInfo"][];
            /**
             * Objects
             * @description Things that the vocabulary knows.
             */
            objects: components["schemas"]["KeywordInfo"][];
            /** Concepts */
            concepts: components["schemas"]["ScoredName"][];
            mood: components["schemas"]["ScoredName"] | null;
            /**
             * Moods
             * @description Probabilities.
             * @example {
             *       "peaceful": 0.6
             *     }
             */
            moods: {
                [key: string]: number;
            };
            /** Palette */
            palette: components["schemas"]["SwatchInfo"][];
            /** Style Suggestions */
            style_suggestions: components["schemas"]["SuggestionInfo"][];
            /** Word Count */
            word_count: number;
            /**
             * Served By
             * @description What answers: rules on vocabularies alone, or with the site's text engine, which judges concepts, mood and sentiment.
             * @enum {string}
             */
            served_by: "rules" | "rules and text engine";
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
        /**
         * AnalyzeRequest
         * @example {
         *       "prompt": "a red fox in a misty autumn forest at dawn, watercolour"
         *     }
         */
        AnalyzeRequest: {
            /**
             * Prompt
             * @example a red fox in a misty autumn forest at dawn, watercolour
             */
            prompt: string;
            /**
             * Save
             * @description Whether it becomes an entry of the history; a user has to be known: by a key or `userId`.
             * @default true
             */
            save: boolean;
            /** Userid */
            userId?: string | null;
        };
        /** AnalyzeResponse */
        AnalyzeResponse: {
            /**
             * Language
             * @description ISO 639-1; None where it is not clear.
             * @example en
             */
            language: string | null;
            sentiment: components["schemas"]["SentimentInfo"];
            keywords: components["schemas"]["Keywords"];
            /**
             * Excluded
             * @description What the prompt does not want.
             */
            excluded: components["schemas"]["KeywordInfo"][];
            /**
             * Objects
             * @description Things that the vocabulary knows.
             */
            objects: components["schemas"]["KeywordInfo"][];
            /** Concepts */
            concepts: components["schemas"]["ScoredName"][];
            mood: components["schemas"]["ScoredName"] | null;
            /**
             * Moods
             * @description Probabilities.
             * @example {
             *       "peaceful": 0.6
             *     }
             */
            moods: {
                [key: string]: number;
            };
            /** Palette */
            palette: components["schemas"]["SwatchInfo"][];
            /** Style Suggestions */
            style_suggestions: components["schemas"]["SuggestionInfo"][];
            /** Word Count */
            word_count: number;
            /**
             * Served By
             * @description What answers: rules on vocabularies alone, or with the site's text engine, which judges concepts, mood and sentiment.
             * @enum {string}
             */
            served_by: "rules" | "rules and text engine";
            /**
             * Id
             * @description Of the entry of the history; None if there is none.
             */
            id: string | null;
            /** Prompt */
            prompt: string;
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
        /**
         * BoxFields
         * @description A part of the picture, in fractions of its width and height.
         */
        BoxFields: {
            /** Left */
            left: number;
            /** Top */
            top: number;
            /** Width */
            width: number;
            /** Height */
            height: number;
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
        /** CaptionCandidate */
        CaptionCandidate: {
            /** Text */
            text: string;
            /** Model */
            model: string;
            /**
             * Confidence
             * @description The model's own: the mean probability of a token. A language model states none.
             */
            confidence: number | null;
            /**
             * Likeness
             * @description Cosine of the embeddings of text and picture.
             */
            likeness: number | null;
            /**
             * Fit
             * @description Likelihood by them, relative to the best candidate.
             */
            fit: number | null;
            /**
             * Agreement
             * @description How much of it other models say too.
             */
            agreement: number | null;
            /**
             * Score
             * @description The mean of those known, times the model's weight; 0 where none is.
             */
            score: number;
        };
        /** CaptionModelsResponse */
        CaptionModelsResponse: {
            /**
             * Models
             * @description The engines, the embedding that names the nearest words, the language model that sees.
             */
            models: string[];
        };
        /**
         * CaptionRequestBody
         * @example {
         *       "image": "data:image/png;base64,iVBORw0KGgo="
         *     }
         */
        CaptionRequestBody: {
            /**
             * Models
             * @description These alone; all that there are by default.
             */
            models?: string[] | null;
            /**
             * Weights
             * @description How much the captions of each model count; 1 by default.
             */
            weights?: {
                [key: string]: number;
            } | null;
            /**
             * Prompt
             * @description How captions of the engines begin, such as: a painting of
             * @default
             */
            prompt: string;
            /**
             * Beams
             * @description 1 is greedy decoding.
             * @default 3
             */
            beams: number;
            /**
             * Max Tokens
             * @description Longest caption of an engine.
             * @default 30
             */
            max_tokens: number;
            /**
             * Timeout S
             * @description Seconds for each picture.
             * @default 60
             */
            timeout_s: number;
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
        };
        /** CaptionResponse */
        CaptionResponse: {
            /** Caption */
            caption: string;
        };
        /** CaptionTag */
        CaptionTag: {
            /**
             * Category
             * @example objects
             */
            category: string;
            /**
             * Name
             * @example heart
             */
            name: string;
            /**
             * Score
             * @description Cosine of the embeddings of word and picture.
             */
            score: number;
            /**
             * Probability
             * @description Among the words of its category.
             */
            probability: number;
        };
        /** CaptionedPicture */
        CaptionedPicture: {
            /**
             * Caption
             * @description The best candidate, with likely words that it does not say; empty where no model had a word.
             */
            caption: string;
            /**
             * Score
             * @description Of the best candidate; 0 without one.
             */
            score: number;
            /**
             * Candidates
             * @description The best first.
             */
            candidates: components["schemas"]["CaptionCandidate"][];
            /**
             * Tags
             * @description The likeliest words of each category of the vocabulary.
             */
            tags: components["schemas"]["CaptionTag"][];
            /**
             * Models
             * @example [
             *       "blip",
             *       "search"
             *     ]
             */
            models: string[];
            /** Seconds */
            seconds: number;
        };
        /**
         * ChatRequest
         * @example {
         *       "message": "a fox in the snow, calm",
         *       "userId": "ada"
         *     }
         */
        ChatRequest: {
            /** Message */
            message: string;
            /**
             * Conversationid
             * @description None begins a new one.
             */
            conversationId?: string | null;
            /**
             * Prompt
             * @description The prompt that is talked about; else the last one.
             */
            prompt?: string | null;
            /**
             * Generationid
             * @description The drawing that is talked about.
             */
            generationId?: string | null;
            /**
             * Stream
             * @description Whether the answer comes as server-sent events.
             * @default false
             */
            stream: boolean;
            /** Userid */
            userId?: string | null;
        };
        /** ChatResponse */
        ChatResponse: {
            /** Conversationid */
            conversationId: string;
            /** Reply */
            reply: string;
            /**
             * Prompt
             * @description The prompt that the conversation is at.
             */
            prompt: string | null;
            /** @description Proposed; `POST /api/llm/act` confirms it. */
            action: components["schemas"]["ActionInfo"] | null;
            /**
             * Served By
             * @description rules: no language model took part; llm: the site's language model.
             * @enum {string}
             */
            served_by: "rules" | "llm";
            /**
             * Model
             * @description The language model's name; None for rules.
             * @example null
             */
            model: string | null;
            /**
             * Degraded
             * @description Why rules answered though the site has a language model.
             * @example null
             */
            degraded: string | null;
        };
        /** CohortResponse */
        CohortResponse: {
            /** Cohort */
            cohort: string;
            /** Users */
            users: number;
            /** Usersofsite */
            usersOfSite: number;
            /** Generations */
            generations: number;
            /**
             * Feedback
             * @description Events by kind.
             * @example {
             *       "like": 3
             *     }
             */
            feedback: {
                [key: string]: number;
            };
            /** Meanstars */
            meanStars: number | null;
            /** Generationsperuser */
            generationsPerUser: number | null;
            /** Feedbackpergeneration */
            feedbackPerGeneration: number | null;
        };
        /** CommandFlagsResponse */
        CommandFlagsResponse: {
            /** Api */
            api: boolean;
            /** Nowebui */
            nowebui: boolean;
            /** Api Server Stop */
            api_server_stop: boolean;
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
        /**
         * ControlFields
         * @description A ControlNet and the picture that it follows.
         */
        ControlFields: {
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
             * Type
             * @description one of the model's ControlNets
             * @example canny
             */
            type: string;
            /**
             * Preprocessor
             * @description what makes the control picture of the image; none: it is one
             * @default none
             * @enum {string}
             */
            preprocessor: "none" | "canny" | "lineart" | "tile" | "colour" | "invert";
            /**
             * Scale
             * @default 1
             */
            scale: number;
            /**
             * Start
             * @description share of the steps from which on it acts
             * @default 0
             */
            start: number;
            /**
             * End
             * @description and up to which
             * @default 1
             */
            end: number;
            /**
             * Fit
             * @default crop
             * @enum {string}
             */
            fit: "crop" | "pad" | "stretch";
        };
        /** ControlNetModels */
        ControlNetModels: {
            /**
             * Model List
             * @example [
             *       "canny"
             *     ]
             */
            model_list: string[];
        };
        /** ControlNetModules */
        ControlNetModules: {
            /**
             * Module List
             * @example [
             *       "none",
             *       "canny"
             *     ]
             */
            module_list: string[];
            /**
             * Module Detail
             * @example {}
             */
            module_detail: {
                [key: string]: unknown;
            };
        };
        /** ControlNetTypes */
        ControlNetTypes: {
            /**
             * Control Types
             * @example {}
             */
            control_types: {
                [key: string]: unknown;
            };
        };
        /** ControlNetVersion */
        ControlNetVersion: {
            /**
             * Version
             * @example 3
             */
            version: number;
        };
        /**
         * ControlPreviewRequest
         * @example {
         *       "image": "data:image/png;base64,iVBORw0KGgo=",
         *       "preprocessor": "canny",
         *       "width": 512
         *     }
         */
        ControlPreviewRequest: {
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
             * Preprocessor
             * @default none
             * @enum {string}
             */
            preprocessor: "none" | "canny" | "lineart" | "tile" | "colour" | "invert";
            /**
             * Fit
             * @description how a picture of another shape becomes width x height
             * @default crop
             * @enum {string}
             */
            fit: "crop" | "pad" | "stretch";
            /**
             * Width
             * @description of the drawing
             * @default 512
             */
            width: number;
            /**
             * Height
             * @description of the drawing
             * @default 512
             */
            height: number;
        };
        /**
         * ConversationChange
         * @example {
         *       "status": "completed"
         *     }
         */
        ConversationChange: {
            /**
             * Status
             * @enum {string}
             */
            status: "active" | "completed";
            /** Userid */
            userId?: string | null;
        };
        /** ConversationEntry */
        ConversationEntry: {
            /** Id */
            id: string;
            /** Title */
            title: string;
            /** Finalprompt */
            finalPrompt: string | null;
            /** Generationid */
            generationId: string | null;
            /**
             * Status
             * @enum {string}
             */
            status: "active" | "completed";
            /**
             * Updatedat
             * Format: date-time
             */
            updatedAt: string;
        };
        /** ConversationInfo */
        ConversationInfo: {
            /** Id */
            id: string;
            /** Userid */
            userId: string;
            /** Title */
            title: string;
            /** Messages */
            messages: components["schemas"]["MessageInfo"][];
            /** Finalprompt */
            finalPrompt: string | null;
            /** Generationid */
            generationId: string | null;
            /**
             * Status
             * @enum {string}
             */
            status: "active" | "completed";
            /**
             * Createdat
             * Format: date-time
             */
            createdAt: string;
            /**
             * Updatedat
             * Format: date-time
             */
            updatedAt: string;
        };
        /** ConversationsPage */
        ConversationsPage: {
            /** Conversations */
            conversations: components["schemas"]["ConversationEntry"][];
            /**
             * Nextcursor
             * @description None at the end.
             */
            nextCursor: string | null;
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
            /** Max Colors */
            max_colors?: number | null;
            /** Min Area Px */
            min_area_px?: number | null;
            /** Precision */
            precision?: number | null;
            /**
             * Shapes
             * @description circles, ellipses, rectangles and strokes as such; false: paths alone
             * @default true
             */
            shapes: boolean;
            /**
             * Reuse
             * @description the same shape again as `use` of the first, where that is shorter
             * @default true
             */
            reuse: boolean;
            /** Palette */
            palette?: string | null;
            /**
             * Background
             * @description remove: leave out an area that fills the whole canvas
             * @default keep
             * @enum {string}
             */
            background: "keep" | "remove";
            /**
             * Classes
             * @description a class for each colour and an id at the root, for style sheets
             * @default false
             */
            classes: boolean;
            /** Title */
            title?: string | null;
            /** Id Prefix */
            id_prefix?: string | null;
            /**
             * Curves
             * @description the curves of paths beside lines: none, circular arcs, quadratic or cubic Béziers
             * @default cubic
             * @enum {string}
             */
            curves: "lines" | "arcs" | "quadratic" | "cubic";
            /**
             * Stacking
             * @description cut_out: nothing lies below an opaque shape; neighbours share their edge
             * @default stacked
             * @enum {string}
             */
            stacking: "stacked" | "cut_out";
            /**
             * Group By
             * @description groups of one colour, of what lies in a shape, or of what lies equally high
             * @default none
             * @enum {string}
             */
            group_by: "none" | "color" | "parent" | "layer";
            /**
             * Draw
             * @description strokes: outlines of the areas, 1 px wide, in their colours
             * @default fills
             * @enum {string}
             */
            draw: "fills" | "strokes";
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
             * @description PNG, JPEG, WebP, AVIF, GIF, BMP, ICO or TIFF, of 2 px a side or more
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
            /** Max Colors */
            max_colors?: number | null;
            /** Min Area Px */
            min_area_px?: number | null;
            /** Precision */
            precision?: number | null;
            /**
             * Shapes
             * @description circles, ellipses, rectangles and strokes as such; false: paths alone
             * @default true
             */
            shapes: boolean;
            /**
             * Reuse
             * @description the same shape again as `use` of the first, where that is shorter
             * @default true
             */
            reuse: boolean;
            /** Palette */
            palette?: string | null;
            /**
             * Background
             * @description remove: leave out an area that fills the whole canvas
             * @default keep
             * @enum {string}
             */
            background: "keep" | "remove";
            /**
             * Classes
             * @description a class for each colour and an id at the root, for style sheets
             * @default false
             */
            classes: boolean;
            /** Title */
            title?: string | null;
            /** Id Prefix */
            id_prefix?: string | null;
            /**
             * Curves
             * @description the curves of paths beside lines: none, circular arcs, quadratic or cubic Béziers
             * @default cubic
             * @enum {string}
             */
            curves: "lines" | "arcs" | "quadratic" | "cubic";
            /**
             * Stacking
             * @description cut_out: nothing lies below an opaque shape; neighbours share their edge
             * @default stacked
             * @enum {string}
             */
            stacking: "stacked" | "cut_out";
            /**
             * Group By
             * @description groups of one colour, of what lies in a shape, or of what lies equally high
             * @default none
             * @enum {string}
             */
            group_by: "none" | "color" | "parent" | "layer";
            /**
             * Draw
             * @description strokes: outlines of the areas, 1 px wide, in their colours
             * @default fills
             * @enum {string}
             */
            draw: "fills" | "strokes";
            /**
             * Image
             * Format: binary
             * @description PNG, JPEG, WebP, AVIF, GIF, BMP, ICO or TIFF, of 2 px a side or more
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
        /**
         * Crop
         * @description A box in pixels of the stored picture.
         */
        Crop: {
            /** Left */
            left: number;
            /** Top */
            top: number;
            /** Width */
            width: number;
            /** Height */
            height: number;
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
        /** DeletedHistoryResponse */
        DeletedHistoryResponse: {
            /** Deleted */
            deleted: number;
        };
        /**
         * DescribeRequest
         * @example {
         *       "image": "data:image/png;base64,iVBORw0KGgo=",
         *       "question": "What is the light like?"
         *     }
         */
        DescribeRequest: {
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
             * Template
             * @description A question by its name: one of GET /api/captions/templates.
             */
            template?: string | null;
            /**
             * Question
             * @description In place of template.
             */
            question?: string | null;
            /**
             * Turns
             * @description Earlier questions on this picture and their answers, in order.
             */
            turns?: components["schemas"]["Turn"][];
            /**
             * Max Tokens
             * @default 256
             */
            max_tokens: number;
        };
        /** DescribedPicture */
        DescribedPicture: {
            /** Text */
            text: string;
            /** Question */
            question: string;
            /**
             * Model
             * @example llava
             */
            model: string;
            /**
             * Turns
             * @description Those of the request and this one, the last eight, for the next.
             */
            turns: components["schemas"]["Turn"][];
        };
        /**
         * DetectRequest
         * @example {
         *       "controlnet_input_images": [
         *         "iVBORw0KGgo="
         *       ],
         *       "controlnet_module": "canny"
         *     }
         */
        DetectRequest: {
            /**
             * Controlnet Module
             * @default none
             */
            controlnet_module: string;
            /** Controlnet Input Images */
            controlnet_input_images?: string[];
            /**
             * Controlnet Processor Res
             * @default 512
             */
            controlnet_processor_res: number;
            /** Controlnet Threshold A */
            controlnet_threshold_a?: number | null;
            /** Controlnet Threshold B */
            controlnet_threshold_b?: number | null;
        };
        /** DetectResponse */
        DetectResponse: {
            /** Images */
            images: string[];
            /**
             * Info
             * @example Success
             */
            info: string;
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
             * Mask
             * @description as image, and of its size: what is white is drawn anew, grey with that share of the steps
             */
            mask?: string | null;
            /**
             * Subjects
             * @description each becomes a region of its own, placed by relationships
             */
            subjects?: components["schemas"]["SubjectFields"][] | null;
            /**
             * Relationships
             * @description between subjects, by their names
             */
            relationships?: components["schemas"]["RelationshipFields"][] | null;
            /**
             * Regions
             * @description parts with prompts of their own; a later one lies over earlier ones
             */
            regions?: components["schemas"]["RegionFields"][] | null;
            /**
             * Controls
             * @description ControlNets, stacked
             */
            controls?: components["schemas"]["ControlFields"][] | null;
            /**
             * References
             * @description what is drawn again, by the model's IP-Adapter
             */
            references?: components["schemas"]["ReferenceFields"][] | null;
            /**
             * Loras
             * @description LoRAs of the site with weights, such as ink:0.6; <lora:ink:0.6> in the prompt says the same
             * @example [
             *       {
             *         "name": "ink",
             *         "weight": 0.6
             *       }
             *     ]
             */
            loras?: components["schemas"]["LoraChoice"][] | null;
            /**
             * Styles
             * @description of GET /api/styles: names, or names with weights that are mixed
             */
            styles?: components["schemas"]["StyleChoice"][] | null;
            /**
             * Upscale
             * @description 2 or 4: the picture is enlarged
             * @default 1
             */
            upscale: number;
            /** Upscaler */
            upscaler?: string | null;
            /**
             * Remove Background
             * @description what is around the subject becomes transparent
             * @default false
             */
            remove_background: boolean;
            /**
             * Restore Faces
             * @description by an engine, where the site has one
             * @default false
             */
            restore_faces: boolean;
            /**
             * Model
             * @description one of GET /v1/models; by default the first that offers what is asked for
             */
            model?: string | null;
            /** Width */
            width?: number | null;
            /** Height */
            height?: number | null;
            hires?: components["schemas"]["HiresFields"] | null;
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
        /**
         * EditRequest
         * @description The steps are applied in the order of the fields; at least one has to be given.
         */
        EditRequest: {
            /** @description Part of the picture that is kept. */
            crop?: components["schemas"]["Crop"] | null;
            /**
             * Rotate
             * @description Degrees clockwise. The picture grows to hold its corners; what is new is transparent.
             * @default 0
             */
            rotate: number;
            /**
             * Flip Horizontal
             * @description Left becomes right.
             * @default false
             */
            flip_horizontal: boolean;
            /**
             * Flip Vertical
             * @description Top becomes bottom.
             * @default false
             */
            flip_vertical: boolean;
            /**
             * Width
             * @description Pixels. With one side given the other keeps the proportions.
             */
            width?: number | null;
            /** Height */
            height?: number | null;
            /**
             * Brightness
             * @description 1 changes nothing, 0 is black: as CSS's `brightness()`.
             * @default 1
             */
            brightness: number;
            /**
             * Contrast
             * @description 1 changes nothing, 0 is grey: as CSS's `contrast()`.
             * @default 1
             */
            contrast: number;
            /**
             * Saturation
             * @description 1 changes nothing, 0 is without colour: as CSS's `saturate()`.
             * @default 1
             */
            saturation: number;
            /**
             * Format
             * @description That of the stored picture by default. JPEG has no transparency: white takes its place.
             */
            format?: ("png" | "jpeg" | "webp") | null;
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
        /**
         * EnhanceRequest
         * @example {
         *       "level": "balanced",
         *       "prompt": "a fox in a forest"
         *     }
         */
        EnhanceRequest: {
            /**
             * Prompt
             * @example a red fox in a misty autumn forest at dawn, watercolour
             */
            prompt: string;
            /**
             * Level
             * @description How much is added.
             * @default balanced
             * @enum {string}
             */
            level: "light" | "balanced" | "rich";
            /**
             * Style
             * @description A style to use, by a name of `keywords.styles`.
             */
            style?: string | null;
            /**
             * @description Its things, colours and mood are taken up.
             * @default {
             *       "recall": false
             *     }
             */
            memoryContext: components["schemas"]["MemoryFields"];
            /**
             * Userid
             * @description Of a stored memory.
             */
            userId?: string | null;
        };
        /** EnhanceResponse */
        EnhanceResponse: {
            /** Original */
            original: string;
            /**
             * Enhanced
             * @description The prompt itself, then what was added.
             */
            enhanced: string;
            /** Negative Prompt */
            negative_prompt: string;
            /** Changes */
            changes: components["schemas"]["EnhancementChange"][];
            /** @description Of the original. */
            analysis: components["schemas"]["AnalysisInfo"];
            /**
             * Served By
             * @description What answers: rules on vocabularies alone, or with the site's text engine, which judges concepts, mood and sentiment.
             * @enum {string}
             */
            served_by: "rules" | "rules and text engine";
        };
        /** EnhancementChange */
        EnhancementChange: {
            /**
             * Kind
             * @example lighting
             */
            kind: string;
            /**
             * Text
             * @example soft diffused light
             */
            text: string;
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
        /** Evidence */
        Evidence: {
            /** Text */
            text: string;
            /**
             * Strength
             * @description From -4.5 to 4.5.
             * @example 2
             */
            strength: number;
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
        /** ExperimentsResponse */
        ExperimentsResponse: {
            /** Experiments */
            experiments: components["schemas"]["ExperimentResponse"][];
        };
        /**
         * ExplainRequest
         * @example {
         *       "concept": "chiaroscuro"
         *     }
         */
        ExplainRequest: {
            /** Concept */
            concept: string;
        };
        /** ExplainResponse */
        ExplainResponse: {
            /** Concept */
            concept: string;
            /** Explanation */
            explanation: string;
            /**
             * Example
             * @description A prompt that uses it.
             */
            example: string | null;
            /**
             * Known
             * @description False: there is no entry for it.
             */
            known: boolean;
            /**
             * Served By
             * @description rules: no language model took part; llm: the site's language model.
             * @enum {string}
             */
            served_by: "rules" | "llm";
            /**
             * Model
             * @description The language model's name; None for rules.
             * @example null
             */
            model: string | null;
            /**
             * Degraded
             * @description Why rules answered though the site has a language model.
             * @example null
             */
            degraded: string | null;
        };
        /** ExportResponse */
        ExportResponse: {
            preferences: components["schemas"]["PreferencesResponse"];
            /** Interactions */
            interactions: components["schemas"]["InteractionInfo"][];
        };
        /**
         * ExtraBatchRequest
         * @example {
         *       "imageList": [
         *         {
         *           "data": "iVBORw0KGgo=",
         *           "name": "a.png"
         *         }
         *       ],
         *       "upscaler_1": "Lanczos"
         *     }
         */
        ExtraBatchRequest: {
            /**
             * Resize Mode
             * @description 0: upscaling_resize, 1: to a size
             * @default 0
             */
            resize_mode: number;
            /**
             * Upscaling Resize
             * @default 2
             */
            upscaling_resize: number;
            /**
             * Upscaling Resize W
             * @default 512
             */
            upscaling_resize_w: number;
            /**
             * Upscaling Resize H
             * @default 512
             */
            upscaling_resize_h: number;
            /**
             * Upscaling Crop
             * @description of resize_mode 1: cut to the size
             * @default true
             */
            upscaling_crop: boolean;
            /**
             * Upscaler 1
             * @description one of GET upscalers
             * @default None
             */
            upscaler_1: string;
            /**
             * Upscaler 2
             * @description has no effect
             * @default None
             */
            upscaler_2: string;
            /**
             * Extras Upscaler 2 Visibility
             * @description has no effect
             * @default 0
             */
            extras_upscaler_2_visibility: number;
            /**
             * Gfpgan Visibility
             * @description above 0: faces are restored
             * @default 0
             */
            gfpgan_visibility: number;
            /**
             * Codeformer Visibility
             * @description above 0: faces are restored
             * @default 0
             */
            codeformer_visibility: number;
            /**
             * Codeformer Weight
             * @description has no effect
             * @default 0
             */
            codeformer_weight: number;
            /** Imagelist */
            imageList?: components["schemas"]["NamedPicture"][];
        };
        /**
         * ExtraImageRequest
         * @example {
         *       "image": "iVBORw0KGgo=",
         *       "upscaler_1": "Lanczos",
         *       "upscaling_resize": 2
         *     }
         */
        ExtraImageRequest: {
            /**
             * Resize Mode
             * @description 0: upscaling_resize, 1: to a size
             * @default 0
             */
            resize_mode: number;
            /**
             * Upscaling Resize
             * @default 2
             */
            upscaling_resize: number;
            /**
             * Upscaling Resize W
             * @default 512
             */
            upscaling_resize_w: number;
            /**
             * Upscaling Resize H
             * @default 512
             */
            upscaling_resize_h: number;
            /**
             * Upscaling Crop
             * @description of resize_mode 1: cut to the size
             * @default true
             */
            upscaling_crop: boolean;
            /**
             * Upscaler 1
             * @description one of GET upscalers
             * @default None
             */
            upscaler_1: string;
            /**
             * Upscaler 2
             * @description has no effect
             * @default None
             */
            upscaler_2: string;
            /**
             * Extras Upscaler 2 Visibility
             * @description has no effect
             * @default 0
             */
            extras_upscaler_2_visibility: number;
            /**
             * Gfpgan Visibility
             * @description above 0: faces are restored
             * @default 0
             */
            gfpgan_visibility: number;
            /**
             * Codeformer Visibility
             * @description above 0: faces are restored
             * @default 0
             */
            codeformer_visibility: number;
            /**
             * Codeformer Weight
             * @description has no effect
             * @default 0
             */
            codeformer_weight: number;
            /**
             * Image
             * @description in base64, or a data: URL
             * @example iVBORw0KGgo=
             */
            image: string;
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
             * Few Steps
             * @description long ones, without guidance: by default of what is drawn from words alone
             */
            few_steps: number | null;
            /**
             * Sampler
             * @description by default
             */
            sampler: string;
            /**
             * Long Step Samplers
             * @description those that take the few steps
             */
            long_step_samplers: string[];
            /** Samplers */
            samplers: string[];
            /**
             * Takes Pictures
             * @description whether a drawing may start from a picture
             */
            takes_pictures: boolean;
            /** Takes Loras */
            takes_loras: boolean;
            /**
             * Controls
             * @description its ControlNets
             * @example [
             *       "canny"
             *     ]
             */
            controls: string[];
            /** Takes References */
            takes_references: boolean;
            /**
             * Reference Scales
             * @description what a reference has beside scale
             * @example [
             *       "style_scale",
             *       "content_scale"
             *     ]
             */
            reference_scales: string[];
        };
        /** Favorite */
        Favorite: {
            /** Id */
            id: string;
            /** Favorite */
            favorite: boolean;
        };
        /**
         * FavoriteFeedbackRequest
         * @example {
         *       "generationId": "5f0c6f3f0b7e4f6f9c7d2a1b3e4d5c6f"
         *     }
         */
        FavoriteFeedbackRequest: {
            /**
             * Generationid
             * @description One of the user's own.
             * @example 5f0c6f3f0b7e4f6f9c7d2a1b3e4d5c6f
             */
            generationId: string;
            /**
             * Resultid
             * @description Which of its pictures is meant.
             */
            resultId?: string | null;
            /** Userid */
            userId?: string | null;
            /**
             * Favorite
             * @description False: no favourite any more.
             * @default true
             */
            favorite: boolean;
        };
        /**
         * FavoritePromptRequest
         * @example {
         *       "favorite": true
         *     }
         */
        FavoritePromptRequest: {
            /**
             * Favorite
             * @default true
             */
            favorite: boolean;
            /** Userid */
            userId?: string | null;
        };
        /** FavoritePromptResponse */
        FavoritePromptResponse: {
            /** Id */
            id: string;
            /** Favorite */
            favorite: boolean;
        };
        /**
         * FeedbackRequest
         * @example {
         *       "generationId": "5f0c6f3f0b7e4f6f9c7d2a1b3e4d5c6f"
         *     }
         */
        FeedbackRequest: {
            /**
             * Generationid
             * @description One of the user's own.
             * @example 5f0c6f3f0b7e4f6f9c7d2a1b3e4d5c6f
             */
            generationId: string;
            /**
             * Resultid
             * @description Which of its pictures is meant.
             */
            resultId?: string | null;
            /** Userid */
            userId?: string | null;
        };
        /** FeedbackResponse */
        FeedbackResponse: {
            /** Generationid */
            generationId: string;
            /**
             * Kind
             * @example rate
             */
            kind: string;
            /**
             * Active
             * @description Whether it counts now; a like that was taken back does not.
             */
            active: boolean;
            /**
             * Reward
             * @description What it counts for.
             * @example 0.5
             */
            reward: number;
        };
        /**
         * FinishRequest
         * @example {
         *       "image": "data:image/png;base64,iVBORw0KGgo=",
         *       "upscale": 2
         *     }
         */
        FinishRequest: {
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
             * Upscale
             * @description 2 or 4: the picture is enlarged
             * @default 1
             */
            upscale: number;
            /** Upscaler */
            upscaler?: string | null;
            /**
             * Remove Background
             * @description what is around the subject becomes transparent
             * @default false
             */
            remove_background: boolean;
            /**
             * Restore Faces
             * @description by an engine, where the site has one
             * @default false
             */
            restore_faces: boolean;
            /**
             * Output Format
             * @default png
             * @enum {string}
             */
            output_format: "png" | "jpeg" | "webp";
            /**
             * Output Compression
             * @description quality of JPEG and WebP
             * @default 95
             */
            output_compression: number;
            /**
             * Metadata
             * @description as of a drawing
             */
            metadata?: boolean | null;
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
        /** FlagsResponse */
        FlagsResponse: {
            /** Flags */
            flags: components["schemas"]["FlagInfo"][];
        };
        /** ForgottenResponse */
        ForgottenResponse: {
            /**
             * Deleted
             * @description Events of feedback.
             */
            deleted: number;
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
             * Mask
             * @description as image, and of its size: what is white is drawn anew, grey with that share of the steps
             */
            mask?: string | null;
            /**
             * Subjects
             * @description each becomes a region of its own, placed by relationships
             */
            subjects?: components["schemas"]["SubjectFields"][] | null;
            /**
             * Relationships
             * @description between subjects, by their names
             */
            relationships?: components["schemas"]["RelationshipFields"][] | null;
            /**
             * Regions
             * @description parts with prompts of their own; a later one lies over earlier ones
             */
            regions?: components["schemas"]["RegionFields"][] | null;
            /**
             * Controls
             * @description ControlNets, stacked
             */
            controls?: components["schemas"]["ControlFields"][] | null;
            /**
             * References
             * @description what is drawn again, by the model's IP-Adapter
             */
            references?: components["schemas"]["ReferenceFields"][] | null;
            /**
             * Loras
             * @description LoRAs of the site with weights, such as ink:0.6; <lora:ink:0.6> in the prompt says the same
             * @example [
             *       {
             *         "name": "ink",
             *         "weight": 0.6
             *       }
             *     ]
             */
            loras?: components["schemas"]["LoraChoice"][] | null;
            /**
             * Styles
             * @description of GET /api/styles: names, or names with weights that are mixed
             */
            styles?: components["schemas"]["StyleChoice"][] | null;
            /**
             * Upscale
             * @description 2 or 4: the picture is enlarged
             * @default 1
             */
            upscale: number;
            /** Upscaler */
            upscaler?: string | null;
            /**
             * Remove Background
             * @description what is around the subject becomes transparent
             * @default false
             */
            remove_background: boolean;
            /**
             * Restore Faces
             * @description by an engine, where the site has one
             * @default false
             */
            restore_faces: boolean;
            /**
             * Model
             * @description one of GET /v1/models; by default the first that offers what is asked for
             */
            model?: string | null;
            /** Width */
            width?: number | null;
            /** Height */
            height?: number | null;
            hires?: components["schemas"]["HiresFields"] | null;
            /** Prompt */
            prompt: string;
            /** User Id */
            user_id?: string | null;
            /**
             * Subject Reference Url
             * @description what is drawn again: an https: or data: URL, or the name of a stored subject
             */
            subject_reference_url?: string | null;
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
            results: components["schemas"]["ResultInfo"][];
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
             * Mask
             * @description as image, and of its size: what is white is drawn anew, grey with that share of the steps
             */
            mask?: string | null;
            /**
             * Subjects
             * @description each becomes a region of its own, placed by relationships
             */
            subjects?: components["schemas"]["SubjectFields"][] | null;
            /**
             * Relationships
             * @description between subjects, by their names
             */
            relationships?: components["schemas"]["RelationshipFields"][] | null;
            /**
             * Regions
             * @description parts with prompts of their own; a later one lies over earlier ones
             */
            regions?: components["schemas"]["RegionFields"][] | null;
            /**
             * Controls
             * @description ControlNets, stacked
             */
            controls?: components["schemas"]["ControlFields"][] | null;
            /**
             * References
             * @description what is drawn again, by the model's IP-Adapter
             */
            references?: components["schemas"]["ReferenceFields"][] | null;
            /**
             * Loras
             * @description LoRAs of the site with weights, such as ink:0.6; <lora:ink:0.6> in the prompt says the same
             * @example [
             *       {
             *         "name": "ink",
             *         "weight": 0.6
             *       }
             *     ]
             */
            loras?: components["schemas"]["LoraChoice"][] | null;
            /**
             * Styles
             * @description of GET /api/styles: names, or names with weights that are mixed
             */
            styles?: components["schemas"]["StyleChoice"][] | null;
            /**
             * Upscale
             * @description 2 or 4: the picture is enlarged
             * @default 1
             */
            upscale: number;
            /** Upscaler */
            upscaler?: string | null;
            /**
             * Removebackground
             * @description what is around the subject becomes transparent
             * @default false
             */
            removeBackground: boolean;
            /**
             * Restorefaces
             * @description by an engine, where the site has one
             * @default false
             */
            restoreFaces: boolean;
            /**
             * Model
             * @description one of GET /v1/models; by default the first that offers what is asked for
             */
            model?: string | null;
            /** Width */
            width?: number | null;
            /** Height */
            height?: number | null;
            hires?: components["schemas"]["HiresFields"] | null;
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
         * HiresFields
         * @description A second pass: the drawing is enlarged and drawn from again.
         */
        HiresFields: {
            /**
             * Scale
             * @default 2
             */
            scale: number;
            /**
             * Strength
             * @description share of the steps that are done
             * @default 0.5
             */
            strength: number;
            /**
             * Num Inference Steps
             * @description those of the first pass by default
             */
            num_inference_steps?: number | null;
            /** Upscaler */
            upscaler?: string | null;
        };
        /** HistoryEntry */
        HistoryEntry: {
            /** Id */
            id: string;
            /** Prompt */
            prompt: string;
            analysis: components["schemas"]["AnalysisInfo"];
            /** Favorite */
            favorite: boolean;
            /**
             * Created At
             * Format: date-time
             */
            created_at: string;
        };
        /** HistoryPage */
        HistoryPage: {
            /** Prompts */
            prompts: components["schemas"]["HistoryEntry"][];
            /**
             * Next Cursor
             * @description None at the end.
             */
            next_cursor: string | null;
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
             * Mask
             * @description as image, and of its size: what is white is drawn anew, grey with that share of the steps
             */
            mask?: string | null;
            /**
             * Subjects
             * @description each becomes a region of its own, placed by relationships
             */
            subjects?: components["schemas"]["SubjectFields"][] | null;
            /**
             * Relationships
             * @description between subjects, by their names
             */
            relationships?: components["schemas"]["RelationshipFields"][] | null;
            /**
             * Regions
             * @description parts with prompts of their own; a later one lies over earlier ones
             */
            regions?: components["schemas"]["RegionFields"][] | null;
            /**
             * Controls
             * @description ControlNets, stacked
             */
            controls?: components["schemas"]["ControlFields"][] | null;
            /**
             * References
             * @description what is drawn again, by the model's IP-Adapter
             */
            references?: components["schemas"]["ReferenceFields"][] | null;
            /**
             * Loras
             * @description LoRAs of the site with weights, such as ink:0.6; <lora:ink:0.6> in the prompt says the same
             * @example [
             *       {
             *         "name": "ink",
             *         "weight": 0.6
             *       }
             *     ]
             */
            loras?: components["schemas"]["LoraChoice"][] | null;
            /**
             * Styles
             * @description of GET /api/styles: names, or names with weights that are mixed
             */
            styles?: components["schemas"]["StyleChoice"][] | null;
            /**
             * Upscale
             * @description 2 or 4: the picture is enlarged
             * @default 1
             */
            upscale: number;
            /** Upscaler */
            upscaler?: string | null;
            /**
             * Removebackground
             * @description what is around the subject becomes transparent
             * @default false
             */
            removeBackground: boolean;
            /**
             * Restorefaces
             * @description by an engine, where the site has one
             * @default false
             */
            restoreFaces: boolean;
            /**
             * Model
             * @description one of GET /v1/models; by default the first that offers what is asked for
             */
            model?: string | null;
            /** Width */
            width?: number | null;
            /** Height */
            height?: number | null;
            hires?: components["schemas"]["HiresFields"] | null;
            /** Prompt */
            prompt: string;
            /** Userid */
            userId?: string | null;
            /**
             * Subjectreferences
             * @description subjects that are drawn again: names, or names and pictures
             */
            subjectReferences?: components["schemas"]["_SubjectReference"][];
            /** @default {} */
            stylePreferences: components["schemas"]["StylePreferences"];
            /**
             * @default {
             *       "recall": false
             *     }
             */
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
             * @description PNG, JPEG, WebP, AVIF, GIF, BMP, ICO or TIFF, of 2 px a side or more
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
             * @description a second pass at a higher resolution
             * @default false
             */
            enable_hr: boolean;
            /**
             * Hr Scale
             * @description of the second pass, above 1 to 4
             * @default 2
             */
            hr_scale: number;
            /**
             * Hr Upscaler
             * @description one of GET upscalers
             */
            hr_upscaler?: string | null;
            /**
             * Hr Second Pass Steps
             * @description 0: as many as the first pass has
             */
            hr_second_pass_steps?: number | null;
            /**
             * Hr Resize X
             * @description in place of hr_scale, where above 0
             * @default 0
             */
            hr_resize_x: number;
            /**
             * Hr Resize Y
             * @description as hr_resize_x
             * @default 0
             */
            hr_resize_y: number;
            /**
             * Denoising Strength
             * @description share of the steps that are done
             * @default 0.75
             */
            denoising_strength: number;
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
             * @description ControlNet's units, where the model has any
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
        /** InsightInfo */
        InsightInfo: {
            /**
             * Kind
             * @enum {string}
             */
            kind: "best" | "worst" | "trend";
            /** Dimension */
            dimension: string | null;
            /** Name */
            name: string;
            /** Score */
            score: number;
            /** Pulls */
            pulls: number;
            /** Text */
            text: string;
        };
        /** InsightsResponse */
        InsightsResponse: {
            /** Insights */
            insights: components["schemas"]["InsightInfo"][];
            /**
             * Predicted
             * @description Of `prompt`: how likely each style is to please.
             */
            predicted: components["schemas"]["PredictedInfo"][];
            /**
             * Ucb
             * @description Of models (C-054).
             * @example {
             *       "watercolour": 0.4
             *     }
             */
            ucb: {
                [key: string]: number | null;
            };
        };
        /** InteractionInfo */
        InteractionInfo: {
            /** Generationid */
            generationId: string;
            /** Kind */
            kind: string;
            /** Reward */
            reward: number;
            /** Model */
            model: string | null;
            /** Sampler */
            sampler: string | null;
            /** Prompt */
            prompt: string;
            /**
             * At
             * Format: date-time
             */
            at: string;
            /**
             * Value
             * @description Stars of a rating.
             */
            value: number | null;
            /** Comment */
            comment: string | null;
            /** Resultid */
            resultId: string | null;
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
        /** JobFile */
        JobFile: {
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
            results: components["schemas"]["JobFile"][];
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
        /** KeywordInfo */
        KeywordInfo: {
            /**
             * Name
             * @example watercolour
             */
            name: string;
            /**
             * Text
             * @description As the prompt has it.
             * @example watercolour
             */
            text: string;
            /**
             * Language
             * @description ISO 639-1.
             * @example en
             */
            language: string;
            /** Confidence */
            confidence: number;
        };
        /** Keywords */
        Keywords: {
            /** Styles */
            styles: components["schemas"]["KeywordInfo"][];
            /** Moods */
            moods: components["schemas"]["KeywordInfo"][];
            /** Colors */
            colors: components["schemas"]["KeywordInfo"][];
            /** Lighting */
            lighting: components["schemas"]["KeywordInfo"][];
            /** Textures */
            textures: components["schemas"]["KeywordInfo"][];
            /** Compositions */
            compositions: components["schemas"]["KeywordInfo"][];
        };
        /** KeywordsResponse */
        KeywordsResponse: {
            keywords: components["schemas"]["Keywords"];
            /** Excluded */
            excluded: components["schemas"]["KeywordInfo"][];
            /** Objects */
            objects: components["schemas"]["KeywordInfo"][];
            /**
             * Served By
             * @description What answers: rules on vocabularies alone, or with the site's text engine, which judges concepts, mood and sentiment.
             * @enum {string}
             */
            served_by: "rules" | "rules and text engine";
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
        /**
         * LikeRequest
         * @example {
         *       "generationId": "5f0c6f3f0b7e4f6f9c7d2a1b3e4d5c6f"
         *     }
         */
        LikeRequest: {
            /**
             * Generationid
             * @description One of the user's own.
             * @example 5f0c6f3f0b7e4f6f9c7d2a1b3e4d5c6f
             */
            generationId: string;
            /**
             * Resultid
             * @description Which of its pictures is meant.
             */
            resultId?: string | null;
            /** Userid */
            userId?: string | null;
            /**
             * Liked
             * @description False takes the like back.
             * @default true
             */
            liked: boolean;
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
            /** Max Loras */
            max_loras: number;
            /**
             * Max Lora Weight
             * @description and the least is its negative
             */
            max_lora_weight: number;
            /**
             * Max Guides
             * @description control pictures, and references, of one drawing
             */
            max_guides: number;
            /**
             * Max Scale
             * @description of control pictures and references
             */
            max_scale: number;
            /**
             * Max Regions
             * @description regions and subjects together
             */
            max_regions: number;
            /** Max Subjects */
            max_subjects: number;
            /** Max Relationships */
            max_relationships: number;
            /** Max Feather Px */
            max_feather_px: number;
            /**
             * Max Margin Px
             * @description that a picture may grow by on one side
             */
            max_margin_px: number;
            /**
             * Max Canvas Px
             * @description the longest side of a picture that has grown
             */
            max_canvas_px: number;
        };
        /** LiveResponse */
        LiveResponse: {
            /**
             * Status
             * @constant
             */
            status: "live";
        };
        /** LoraChoice */
        LoraChoice: {
            /**
             * Name
             * @description one of GET /v1/loras
             */
            name: string;
            /**
             * Weight
             * @default 1
             */
            weight: number;
        };
        /** LoraEntry */
        LoraEntry: {
            /**
             * Name
             * @example ink
             */
            name: string;
            /**
             * Alias
             * @example ink
             */
            alias: string;
            /**
             * Path
             * @example ink
             */
            path: string;
            /**
             * Metadata
             * @example {
             *       "ss_network_dim": "16"
             *     }
             */
            metadata: {
                [key: string]: string;
            };
        };
        /**
         * LoraForm
         * @example {
         *       "file": "the bytes of ink.safetensors",
         *       "name": "ink"
         *     }
         */
        LoraForm: {
            /**
             * File
             * Format: binary
             * @description safetensors, as diffusers, PEFT or kohya's scripts write it
             */
            file: string;
            /**
             * Name
             * @description that of the file by default
             */
            name?: string | null;
        };
        /** LoraItem */
        LoraItem: {
            /** Name */
            name: string;
            /**
             * Families
             * @description the models that it is for
             * @example [
             *       "mini"
             *     ]
             */
            families: string[];
            /**
             * Parts
             * @description the engines that it changes
             * @example [
             *       "unet"
             *     ]
             */
            parts: string[];
            /** Rank */
            rank: number;
            /**
             * Layers
             * @description how many it changes
             */
            layers: number;
            /** Bytes */
            bytes: number;
            /**
             * User Id
             * @description who added it
             */
            user_id: string;
            /**
             * Created At
             * Format: date-time
             */
            created_at: string;
        };
        /** LoraList */
        LoraList: {
            /** Items */
            items: components["schemas"]["LoraItem"][];
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
        /** MemoriesResponse */
        MemoriesResponse: {
            /**
             * Memories
             * @description The newest first.
             */
            memories: components["schemas"]["MemoryInfo"][];
            /**
             * Most
             * @description That a user may keep.
             * @example 200
             */
            most: number;
        };
        /** MemoryContext */
        MemoryContext: {
            /**
             * Id
             * @description A stored memory: one of GET /api/memories.
             */
            id?: string | null;
            /**
             * Recall
             * @description Whether the stored memory that is most like the prompt is taken, if one is alike.
             * @default false
             */
            recall: boolean;
            /** Title */
            title?: string | null;
            /** Content */
            content?: string | null;
            /** Date */
            date?: string | null;
        };
        /**
         * MemoryFields
         * @description Of A-071: what its pictures should recall. Its texts win over those of a stored memory.
         */
        MemoryFields: {
            /**
             * Id
             * @description A stored memory: one of GET /api/memories.
             */
            id?: string | null;
            /**
             * Recall
             * @description Whether the stored memory that is most like the prompt is taken, if one is alike.
             * @default false
             */
            recall: boolean;
            /** Title */
            title?: string | null;
            /** Content */
            content?: string | null;
            /** Date */
            date?: string | null;
        };
        /** MemoryInfo */
        MemoryInfo: {
            /** Id */
            id: string;
            /** Title */
            title: string;
            /** Content */
            content: string;
            /** Date */
            date: string | null;
            /**
             * Created At
             * Format: date-time
             */
            created_at: string;
        };
        /** MemoryResponse */
        MemoryResponse: {
            ram: components["schemas"]["MainMemory"];
            cuda: components["schemas"]["GpuMemory"];
        };
        /** MessageInfo */
        MessageInfo: {
            /**
             * Role
             * @enum {string}
             */
            role: "user" | "assistant";
            /** Content */
            content: string;
            /**
             * Timestamp
             * Format: date-time
             */
            timestamp: string;
            /**
             * Metadata
             * @example {
             *       "served_by": "rules"
             *     }
             */
            metadata: {
                [key: string]: unknown;
            };
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
        /** NamedPicture */
        NamedPicture: {
            /**
             * Data
             * @description in base64, or a data: URL
             * @example iVBORw0KGgo=
             */
            data: string;
            /** Name */
            name?: string | null;
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
         * NewMemory
         * @example {
         *       "content": "the blue boat of my father",
         *       "title": "Holidays"
         *     }
         */
        NewMemory: {
            /**
             * Title
             * @default
             */
            title: string;
            /** Content */
            content: string;
            /**
             * Date
             * @description As the user writes it.
             */
            date?: string | null;
            /** Userid */
            userId?: string | null;
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
             * Finds Alike
             * @description whether the gallery is searched by what pictures show
             */
            finds_alike: boolean;
            /**
             * Mask Fills
             * @description what is under a mask before the first step
             */
            mask_fills: string[];
            /**
             * Preprocessors
             * @description what makes a control picture of a picture
             */
            preprocessors: string[];
            /**
             * Relations
             * @description between two subjects
             */
            relations: string[];
            /**
             * Upscalers
             * @description engines that enlarge pictures
             */
            upscalers: string[];
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
         * OrchestratedRequest
         * @example {
         *       "count": 2,
         *       "prompt": "portrait of an old sailor, oil painting",
         *       "seed": 7
         *     }
         */
        OrchestratedRequest: {
            /** Prompt */
            prompt: string;
            /**
             * Models
             * @description These alone: the caller's choice wins.
             */
            models?: string[] | null;
            /** Userid */
            userId?: string | null;
            /**
             * Count
             * @description How many models draw, if none is named.
             * @default 2
             */
            count: number;
            /**
             * Seed
             * @description The same for all.
             */
            seed?: number | null;
            /** Steps */
            steps?: number | null;
            /**
             * Timeouts
             * @description Seconds for each model.
             * @default 60
             */
            timeoutS: number;
        };
        /** OrchestratedResponse */
        OrchestratedResponse: {
            /**
             * Results
             * @description The best first, failures last.
             */
            results: components["schemas"]["RankedResult"][];
            /** Selected */
            selected: components["schemas"]["SelectedModel"][];
            /**
             * Rankedby
             * @description Without engines of an image-text embedding, or if they know no word of the prompt: taste, or taste and palette.
             * @example image-text embedding, taste and palette
             */
            rankedBy: string;
            /**
             * Rankedwith
             * @description The engines of the embedding.
             * @example search 0123456789abcdef
             */
            rankedWith: string | null;
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
        /** PlacedBox */
        PlacedBox: {
            /**
             * Name
             * @description of the subject, or the beginning of a region's prompt
             */
            name: string;
            /**
             * Kind
             * @enum {string}
             */
            kind: "subject" | "region";
            /**
             * Left
             * @description as a fraction of the picture, like the others
             * @example 0.02
             */
            left: number;
            /** Top */
            top: number;
            /** Width */
            width: number;
            /** Height */
            height: number;
            /**
             * Layer
             * @description 0 is the lowest
             */
            layer: number;
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
        /** PredictedInfo */
        PredictedInfo: {
            /** Style */
            style: string;
            /** Probability */
            probability: number;
        };
        /**
         * PreferencesRequest
         * @example {
         *       "algorithm": "ucb",
         *       "epsilon": 0.2
         *     }
         */
        PreferencesRequest: {
            /**
             * Epsilon
             * @description Exploration rate; none: the site's.
             */
            epsilon?: number | null;
            /**
             * Algorithm
             * @description How models are chosen; none: the site's.
             */
            algorithm?: ("epsilon_greedy" | "ucb" | "thompson") | null;
            /** Userid */
            userId?: string | null;
        };
        /** PreferencesResponse */
        PreferencesResponse: {
            /** Userid */
            userId: string;
            /**
             * Modelpreferences
             * @example {
             *       "mini": {
             *         "pulls": 12,
             *         "score": 0.4,
             *         "wins": 9
             *       }
             *     }
             */
            modelPreferences: {
                [key: string]: components["schemas"]["PreferredArm"];
            };
            /**
             * Samplerpreferences
             * @example {
             *       "mini": {
             *         "pulls": 12,
             *         "score": 0.4,
             *         "wins": 9
             *       }
             *     }
             */
            samplerPreferences: {
                [key: string]: components["schemas"]["PreferredArm"];
            };
            /**
             * Stylepreferences
             * @example {
             *       "watercolour": 0.4
             *     }
             */
            stylePreferences: {
                [key: string]: number;
            };
            /**
             * Colorpreferences
             * @example {
             *       "watercolour": 0.4
             *     }
             */
            colorPreferences: {
                [key: string]: number;
            };
            /**
             * Moodpreferences
             * @example {
             *       "watercolour": 0.4
             *     }
             */
            moodPreferences: {
                [key: string]: number;
            };
            /**
             * Epsilon
             * @description The exploration rate.
             */
            epsilon: number;
            /**
             * Algorithm
             * @example thompson
             */
            algorithm: string;
            /** Totalgenerations */
            totalGenerations: number;
            /** Updatedat */
            updatedAt: string | null;
        };
        /** PreferredArm */
        PreferredArm: {
            /**
             * Score
             * @description The average reward.
             */
            score: number;
            /** Pulls */
            pulls: number;
            /**
             * Wins
             * @description How many rewards were positive.
             */
            wins: number;
        };
        /** PresetInfo */
        PresetInfo: {
            /** Name */
            name: string;
            /** Prompt */
            prompt: string;
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
         * PreviewRequest
         * @example {
         *       "relationships": [
         *         {
         *           "object": "Bo",
         *           "relation": "left of",
         *           "subject": "Ada"
         *         }
         *       ],
         *       "subjects": [
         *         {
         *           "name": "Ada",
         *           "prompt": "a girl in red"
         *         },
         *         {
         *           "name": "Bo",
         *           "prompt": "a boy in green"
         *         }
         *       ]
         *     }
         */
        PreviewRequest: {
            /**
             * Subjects
             * @description each becomes a region of its own, placed by relationships
             */
            subjects?: components["schemas"]["SubjectFields"][] | null;
            /**
             * Relationships
             * @description between subjects, by their names
             */
            relationships?: components["schemas"]["RelationshipFields"][] | null;
            /**
             * Regions
             * @description parts with prompts of their own; a later one lies over earlier ones
             */
            regions?: components["schemas"]["RegionFields"][] | null;
            /**
             * Width
             * @description pixels; the model's own by default
             * @default 512
             */
            width: number;
            /**
             * Height
             * @description pixels; the model's own by default
             * @default 512
             */
            height: number;
        };
        /** PreviewResponse */
        PreviewResponse: {
            /** Width */
            width: number;
            /** Height */
            height: number;
            /**
             * Boxes
             * @description from the lowest layer to the highest; masks have none
             */
            boxes: components["schemas"]["PlacedBox"][];
            /**
             * Svg
             * @description the boxes with their names
             */
            svg: string;
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
        /** PromptPresetsResponse */
        PromptPresetsResponse: {
            /**
             * Categories
             * @example {
             *       "landscape": [
             *         {
             *           "name": "Misty lake",
             *           "prompt": "a still lake"
             *         }
             *       ]
             *     }
             */
            categories: {
                [key: string]: components["schemas"]["PresetInfo"][];
            };
        };
        /**
         * PromptRequest
         * @example {
         *       "prompt": "a red fox in a misty autumn forest at dawn, watercolour"
         *     }
         */
        PromptRequest: {
            /**
             * Prompt
             * @example a red fox in a misty autumn forest at dawn, watercolour
             */
            prompt: string;
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
        /** RankedResult */
        RankedResult: {
            /** Model */
            model: string;
            /** Imageurl */
            imageUrl: string | null;
            /** Generationid */
            generationId: string | null;
            /** Score */
            score: number;
            /**
             * Paletteagreement
             * @description How much of the colours that the prompt names it shows.
             */
            paletteAgreement: number | null;
            /**
             * Likeness
             * @description Cosine of the embeddings of the picture and the prompt.
             * @example 0.61
             */
            likeness: number | null;
            /**
             * Fit
             * @description How likely it is for the prompt, relative to the most likely one.
             */
            fit: number | null;
            /** Seconds */
            seconds: number;
            /**
             * Error
             * @description Why there is no picture.
             */
            error: string | null;
            /**
             * Metadata
             * @example {
             *       "seed": 7
             *     }
             */
            metadata: {
                [key: string]: unknown;
            };
            /** Generatedat */
            generatedAt: string | null;
        };
        /**
         * RateRequest
         * @example {
         *       "generationId": "5f0c6f3f0b7e4f6f9c7d2a1b3e4d5c6f",
         *       "stars": 4
         *     }
         */
        RateRequest: {
            /**
             * Generationid
             * @description One of the user's own.
             * @example 5f0c6f3f0b7e4f6f9c7d2a1b3e4d5c6f
             */
            generationId: string;
            /**
             * Resultid
             * @description Which of its pictures is meant.
             */
            resultId?: string | null;
            /** Userid */
            userId?: string | null;
            /** Stars */
            stars: number;
            /**
             * Comment
             * @description Notes, which are kept with it.
             */
            comment?: string | null;
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
        /** RecommendationInfo */
        RecommendationInfo: {
            /**
             * Kind
             * @enum {string}
             */
            kind: "style" | "model" | "sampler" | "palette" | "prompt";
            /** Name */
            name: string;
            /** Score */
            score: number;
            /**
             * Reason
             * @example you liked it
             */
            reason: string;
        };
        /** RecommendationsResponse */
        RecommendationsResponse: {
            /** Foryou */
            forYou: components["schemas"]["RecommendationInfo"][];
            /** Trending */
            trending: components["schemas"]["RecommendationInfo"][];
            /** Similar */
            similar: components["schemas"]["RecommendationInfo"][];
            /** Explore */
            explore: components["schemas"]["RecommendationInfo"][];
        };
        /**
         * ReferenceFields
         * @description A picture of what is drawn again, in the whole drawing or where its mask is.
         */
        ReferenceFields: {
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
             * Subject
             * @description the user's newest reference of that name, in place of image
             */
            subject?: string | null;
            /**
             * Weight
             * @default 1
             */
            weight: number;
            /**
             * Scale
             * @description of the attention layers that the two below do not name
             * @default 0.6
             */
            scale: number;
            /**
             * Style Scale
             * @description of up block 0, which decides on style in SDXL
             */
            style_scale?: number | null;
            /**
             * Content Scale
             * @description of down block 2, which decides on layout
             */
            content_scale?: number | null;
            /**
             * Mask
             * @description as the drawing's mask, of any size: it acts where that is white, in part where it is grey
             */
            mask?: string | null;
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
             * @description PNG, JPEG, WebP, AVIF, GIF, BMP, ICO, TIFF, or SVG; only its pixels are kept, upright
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
        /**
         * RefineRequest
         * @example {
         *       "feedback": "make it more dramatic",
         *       "prompt": "a red fox in a forest, watercolour"
         *     }
         */
        RefineRequest: {
            /**
             * Prompt
             * @example a red fox in a forest, watercolour
             */
            prompt: string;
            /**
             * Feedback
             * @description What should change.
             */
            feedback: string;
        };
        /** RefineResponse */
        RefineResponse: {
            /** Refinedprompt */
            refinedPrompt: string;
            /** Explanation */
            explanation: string;
            /** Alternatives */
            alternatives: string[];
            /** Negativeprompt */
            negativePrompt: string;
            /** Changes */
            changes: components["schemas"]["RefinementChange"][];
            /**
             * Served By
             * @description rules: no language model took part; llm: the site's language model.
             * @enum {string}
             */
            served_by: "rules" | "llm";
            /**
             * Model
             * @description The language model's name; None for rules.
             * @example null
             */
            model: string | null;
            /**
             * Degraded
             * @description Why rules answered though the site has a language model.
             * @example null
             */
            degraded: string | null;
        };
        /** RefinementChange */
        RefinementChange: {
            /** Kind */
            kind: string;
            /** Text */
            text: string;
            /** Reason */
            reason: string;
        };
        /**
         * RegionFields
         * @description A part of the picture with a prompt of its own: a box or a mask.
         */
        RegionFields: {
            /**
             * Loras
             * @description LoRAs of the site with weights, such as ink:0.6; <lora:ink:0.6> in the prompt says the same
             * @example [
             *       {
             *         "name": "ink",
             *         "weight": 0.6
             *       }
             *     ]
             */
            loras?: components["schemas"]["LoraChoice"][] | null;
            /**
             * References
             * @description what is drawn again here, by the model's IP-Adapter
             */
            references?: components["schemas"]["RegionReferenceFields"][] | null;
            /** Prompt */
            prompt: string;
            /**
             * Negative Prompt
             * @description that of the drawing where it is empty
             * @default
             */
            negative_prompt: string;
            box?: components["schemas"]["BoxFields"] | null;
            /**
             * Mask
             * @description in place of box, as the drawing's mask, of any size: white is the region
             */
            mask?: string | null;
            /**
             * Weight
             * @description share inside of the region; the rest is that of what lies below
             * @default 0.8
             */
            weight: number;
            /**
             * Feather
             * @description pixels; 1/32 of the shorter side by default
             */
            feather?: number | null;
        };
        /**
         * RegionReferenceFields
         * @description A picture of what is drawn again.
         */
        RegionReferenceFields: {
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
             * Subject
             * @description the user's newest reference of that name, in place of image
             */
            subject?: string | null;
            /**
             * Weight
             * @default 1
             */
            weight: number;
            /**
             * Scale
             * @description of the attention layers that the two below do not name
             * @default 0.6
             */
            scale: number;
            /**
             * Style Scale
             * @description of up block 0, which decides on style in SDXL
             */
            style_scale?: number | null;
            /**
             * Content Scale
             * @description of down block 2, which decides on layout
             */
            content_scale?: number | null;
        };
        /** RelationshipFields */
        RelationshipFields: {
            /** Subject */
            subject: string;
            /**
             * Relation
             * @enum {string}
             */
            relation: "left of" | "right of" | "above" | "below" | "in front of" | "behind" | "holding" | "beside" | "around";
            /** Object */
            object: string;
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
        /** ResultInfo */
        ResultInfo: {
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
        /** RetrainingResponse */
        RetrainingResponse: {
            /** Job Id */
            job_id: string;
            /**
             * Status Url
             * Format: uri
             */
            status_url: string;
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
        /** Said */
        Said: {
            /** Value */
            value: number | null;
            /** Comment */
            comment: string | null;
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
        /** ScoredName */
        ScoredName: {
            /**
             * Name
             * @example nature
             */
            name: string;
            /** Confidence */
            confidence: number;
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
        /**
         * SelectModelsRequest
         * @example {
         *       "prompt": "portrait of an old sailor, oil painting"
         *     }
         */
        SelectModelsRequest: {
            /** Prompt */
            prompt: string;
            /**
             * Models
             * @description These alone: the caller's choice wins.
             */
            models?: string[] | null;
            /** Userid */
            userId?: string | null;
        };
        /** SelectModelsResponse */
        SelectModelsResponse: {
            /** Models */
            models: components["schemas"]["SelectedModel"][];
            /**
             * Served By
             * @constant
             */
            served_by: "rules";
        };
        /**
         * SelectRequest
         * @example {
         *       "dimension": "style",
         *       "prompt": "a red fox"
         *     }
         */
        SelectRequest: {
            /**
             * Dimension
             * @description What to choose.
             * @default model
             * @enum {string}
             */
            dimension: "model" | "style" | "sampler" | "palette";
            /**
             * Candidates
             * @description Choose among these; by default all that there are.
             */
            candidates?: string[] | null;
            /**
             * Prompt
             * @description Rewards of prompts near this one count most.
             */
            prompt?: string | null;
            /**
             * Algorithm
             * @description None: the user's own.
             */
            algorithm?: ("epsilon_greedy" | "ucb" | "thompson") | null;
            /** Userid */
            userId?: string | null;
        };
        /** SelectResponse */
        SelectResponse: {
            /** Dimension */
            dimension: string;
            /**
             * Name
             * @description What was chosen.
             */
            name: string;
            /**
             * Confidence
             * @description The probability that no other is better.
             */
            confidence: number;
            /** Expectedreward */
            expectedReward: number;
            /**
             * Pulls
             * @description Rewards of the user that it has, the older the less.
             */
            pulls: number;
            /**
             * Explored
             * @description Whether it was chosen to learn about it, and not as the best.
             */
            explored: boolean;
            /** Reason */
            reason: string;
        };
        /** SelectedModel */
        SelectedModel: {
            /**
             * Kind
             * @enum {string}
             */
            kind: "diffusion" | "style-transfer";
            /** Model */
            model: string;
            /** Confidence */
            confidence: number;
            /** Reason */
            reason: string;
            /**
             * Expected
             * @description What the user's feedback says of it.
             */
            expected: number;
            /**
             * Available
             * @description Whether this site has it.
             */
            available: boolean;
        };
        /** SentimentInfo */
        SentimentInfo: {
            /**
             * Label
             * @enum {string}
             */
            label: "positive" | "neutral" | "negative";
            /**
             * Confidence
             * @description Calibrated on labelled prompts.
             */
            confidence: number;
            /**
             * Scores
             * @example {
             *       "negative": 0.1,
             *       "neutral": 0.7,
             *       "positive": 0.2
             *     }
             */
            scores: {
                [key: string]: number;
            };
            /** Evidence */
            evidence: components["schemas"]["Evidence"][];
        };
        /** SentimentResponse */
        SentimentResponse: {
            /**
             * Label
             * @enum {string}
             */
            label: "positive" | "neutral" | "negative";
            /**
             * Confidence
             * @description Calibrated on labelled prompts.
             */
            confidence: number;
            /**
             * Scores
             * @example {
             *       "negative": 0.1,
             *       "neutral": 0.7,
             *       "positive": 0.2
             *     }
             */
            scores: {
                [key: string]: number;
            };
            /** Evidence */
            evidence: components["schemas"]["Evidence"][];
            mood: components["schemas"]["ScoredName"] | null;
            /**
             * Served By
             * @description What answers: rules on vocabularies alone, or with the site's text engine, which judges concepts, mood and sentiment.
             * @enum {string}
             */
            served_by: "rules" | "rules and text engine";
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
        /** SimilarMatch */
        SimilarMatch: {
            /**
             * Score
             * @description Cosine of the embeddings, from -1 to 1.
             * @example 0.83
             */
            score: number;
            /**
             * Result Id
             * @description The generation's result that is most alike.
             */
            result_id: string;
            generation: components["schemas"]["GenerationInfo"];
        };
        /** SimilarPage */
        SimilarPage: {
            /**
             * Matches
             * @description The most alike first.
             */
            matches: components["schemas"]["SimilarMatch"][];
        };
        /** SiteStyle */
        SiteStyle: {
            /** Name */
            name: string;
            /** Title */
            title: string;
            /** Description */
            description: string;
            /** Aliases */
            aliases: string[];
            /**
             * Colors
             * @description from dark to light
             * @example [
             *       "#0b1640",
             *       "#f2d16b"
             *     ]
             */
            colors: string[];
            /**
             * Image Url
             * Format: uri-reference
             */
            image_url: string;
        };
        /** SiteStylesResponse */
        SiteStylesResponse: {
            /** Success */
            success: boolean;
            /** Styles */
            styles: components["schemas"]["SiteStyle"][];
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
        /** StatsResponse */
        StatsResponse: {
            /**
             * Bykind
             * @description Events by kind.
             * @example {
             *       "like": 3,
             *       "rate": 2
             *     }
             */
            byKind: {
                [key: string]: number;
            };
            /** Meanstars */
            meanStars: number | null;
            /**
             * Generations
             * @description Completed drawings of the user.
             */
            generations: number;
            /**
             * Interactions
             * @description Rewards that are learned from, those for no interaction too.
             */
            interactions: number;
            /** Meanreward */
            meanReward: number | null;
            /**
             * Given
             * @description Of `generationId`: what was said, by kind.
             * @example {
             *       "like": {
             *         "comment": "",
             *         "value": 1
             *       }
             *     }
             */
            given: {
                [key: string]: components["schemas"]["Said"];
            } | null;
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
            /** Loras */
            loras: components["schemas"]["StyleLora"][];
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
        /**
         * StyleLora
         * @description A LoRA of the site, by its name.
         */
        StyleLora: {
            /** Name */
            name: string;
            /**
             * Weight
             * @default 1
             */
            weight: number;
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
        /**
         * StyleSource
         * @description One style of a mixture: a name, or a picture.
         */
        StyleSource: {
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
            /** Name */
            name?: string | null;
            /**
             * Weight
             * @description its share is this of the sum of all without a mask; with one, how much it covers, 1 at most
             * @default 1
             */
            weight: number;
            /**
             * Mask
             * @description as image, and of its size: this style alone is painted where it is white
             */
            mask?: string | null;
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
         * SubjectFields
         * @description A subject by its name; its place follows from the relationships unless its box is given.
         */
        SubjectFields: {
            /**
             * Loras
             * @description LoRAs of the site with weights, such as ink:0.6; <lora:ink:0.6> in the prompt says the same
             * @example [
             *       {
             *         "name": "ink",
             *         "weight": 0.6
             *       }
             *     ]
             */
            loras?: components["schemas"]["LoraChoice"][] | null;
            /**
             * References
             * @description what is drawn again here, by the model's IP-Adapter
             */
            references?: components["schemas"]["RegionReferenceFields"][] | null;
            /** Name */
            name: string;
            /**
             * Prompt
             * @description the name by default
             */
            prompt?: string | null;
            /**
             * Negative Prompt
             * @description that of the drawing where it is empty
             * @default
             */
            negative_prompt: string;
            box?: components["schemas"]["BoxFields"] | null;
            /**
             * Weight
             * @description share inside of the region; the rest is that of what lies below
             * @default 0.8
             */
            weight: number;
            /** Feather */
            feather?: number | null;
        };
        /**
         * SuggestRequest
         * @example {
         *       "prompt": "a red fox in a forest, watercolour"
         *     }
         */
        SuggestRequest: {
            /**
             * Prompt
             * @example a red fox in a forest, watercolour
             */
            prompt: string;
        };
        /** SuggestResponse */
        SuggestResponse: {
            /** Suggestions */
            suggestions: components["schemas"]["RefinementChange"][];
            /**
             * Variations
             * @description Three.
             */
            variations: string[];
            /**
             * Served By
             * @description rules: no language model took part; llm: the site's language model.
             * @enum {string}
             */
            served_by: "rules" | "llm";
            /**
             * Model
             * @description The language model's name; None for rules.
             * @example null
             */
            model: string | null;
            /**
             * Degraded
             * @description Why rules answered though the site has a language model.
             * @example null
             */
            degraded: string | null;
        };
        /** SuggestionInfo */
        SuggestionInfo: {
            /** Style */
            style: string;
            /**
             * Phrase
             * @description Words to add.
             */
            phrase: string;
            /**
             * Reason
             * @example suits nature
             */
            reason: string;
            /** Confidence */
            confidence: number;
        };
        /**
         * SvgStyleRequest
         * @example {
         *       "style": "woodcut",
         *       "svg": "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 2 2\"><path d=\"M0 0H2V2Z\"/></svg>"
         *     }
         */
        SvgStyleRequest: {
            /**
             * Svg
             * @description an SVG document
             */
            svg: string;
            /**
             * Style
             * @description one of GET /api/style-transfer/styles
             */
            style: string;
            /**
             * Strength
             * @description 0 leaves the colours as they are
             * @default 1
             */
            strength: number;
        };
        /** SvgStyleResponse */
        SvgStyleResponse: {
            /** Success */
            success: boolean;
            /** Svg */
            svg: string;
            /** Style */
            style: string;
            /**
             * Colors
             * @description what each colour became
             * @example {
             *       "#ff0000": "#d1402f"
             *     }
             */
            colors: {
                [key: string]: string;
            };
        };
        /** SwatchInfo */
        SwatchInfo: {
            /**
             * Hex
             * @example #d62828
             */
            hex: string;
            /**
             * Name
             * @description The word, thing, light, mood or concept that it comes from.
             */
            name: string;
            /**
             * Source
             * @enum {string}
             */
            source: "word" | "thing" | "light" | "mood" | "concept";
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
        /** TemplatesResponse */
        TemplatesResponse: {
            /**
             * Templates
             * @example {
             *       "style": "Name the artistic style of this picture."
             *     }
             */
            templates: {
                [key: string]: string;
            };
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
         * TransferRequest
         * @example {
         *       "image": "data:image/png;base64,iVBORw0KGgo=",
         *       "strength": 0.8,
         *       "style": "swirls"
         *     }
         */
        TransferRequest: {
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
             * Upscale
             * @description 2 or 4: the picture is enlarged
             * @default 1
             */
            upscale: number;
            /** Upscaler */
            upscaler?: string | null;
            /**
             * Remove Background
             * @description what is around the subject becomes transparent
             * @default false
             */
            remove_background: boolean;
            /**
             * Restore Faces
             * @description by an engine, where the site has one
             * @default false
             */
            restore_faces: boolean;
            /**
             * Output Format
             * @default png
             * @enum {string}
             */
            output_format: "png" | "jpeg" | "webp";
            /**
             * Output Compression
             * @description quality of JPEG and WebP
             * @default 95
             */
            output_compression: number;
            /**
             * Metadata
             * @description as of a drawing
             */
            metadata?: boolean | null;
            /** Style */
            style?: string | null;
            /**
             * Style Image
             * @description a picture whose style is taken, in place of style: a data: or https: URL
             */
            style_image?: string | null;
            /**
             * Styles
             * @description several, with weights, in place of style
             */
            styles?: components["schemas"]["StyleSource"][] | null;
            /**
             * Strength
             * @description 0 leaves the picture as it is
             * @default 1
             */
            strength: number;
            /**
             * Preserve Colors
             * @description whether the picture's colours stay; else the style's
             * @default false
             */
            preserve_colors: boolean;
            /**
             * Mask
             * @description as image, and of its size: what is white is painted, what is black stays
             */
            mask?: string | null;
            /**
             * Iterations
             * @description steps of an optimisation with the features of a VGG (slow; 100 show the style); 0: one pass
             * @default 0
             */
            iterations: number;
            /**
             * Seed
             * @description where the strokes fall
             * @default 0
             */
            seed: number;
        };
        /** Turn */
        Turn: {
            /** Question */
            question: string;
            /** Answer */
            answer: string;
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
             * @description a second pass at a higher resolution
             * @default false
             */
            enable_hr: boolean;
            /**
             * Hr Scale
             * @description of the second pass, above 1 to 4
             * @default 2
             */
            hr_scale: number;
            /**
             * Hr Upscaler
             * @description one of GET upscalers
             */
            hr_upscaler?: string | null;
            /**
             * Hr Second Pass Steps
             * @description 0: as many as the first pass has
             */
            hr_second_pass_steps?: number | null;
            /**
             * Hr Resize X
             * @description in place of hr_scale, where above 0
             * @default 0
             */
            hr_resize_x: number;
            /**
             * Hr Resize Y
             * @description as hr_resize_x
             * @default 0
             */
            hr_resize_y: number;
            /**
             * Denoising Strength
             * @description of the second pass, above 0 to 1; without one it has no effect
             */
            denoising_strength?: unknown;
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
             * @description ControlNet's units, where the model has any
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
        /** UpscalerItem */
        UpscalerItem: {
            /**
             * Name
             * @example Lanczos
             */
            name: string;
            /** Model Name */
            model_name: string | null;
            /** Model Path */
            model_path: string | null;
            /** Model Url */
            model_url: string | null;
            /** Scale */
            scale: number | null;
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
        /** _SubjectReference */
        _SubjectReference: {
            /** Name */
            name?: string | null;
            /**
             * Imageurl
             * @description https: or data:; the newest stored one by default
             */
            imageUrl?: string | null;
            /**
             * Weight
             * @default 1
             */
            weight: number;
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
