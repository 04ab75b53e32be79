-- AM-DeepSeek-R1-Distilled (arXiv 2503.19633), without its perplexity and its reward model: verified, of the right
-- structure, and no 20 words more than 20 times.
well_formed                                         -- <think> and <answer>, both filled
AND finished                                        -- not cut off
AND (correct IS NULL OR correct)                    -- the gold answer, if there is one
AND (code_verdict IS NULL OR code_verdict = 'AC')   -- the tests, if they are run
AND most_repeated_20gram <= 20                      -- their limit; loops of a page pass it
AND NOT duplicate
AND contaminated IS NULL                            -- needs [curate.contamination]
