-- OpenThoughts-114k (github.com/open-thoughts/open-thoughts): answers and programs are verified where there is something to
-- verify them by, duplicates and benchmarks are taken out, and how a trace reads is left alone.
well_formed                                         -- one block of thinking, and an answer after it
AND finished                                        -- not cut off
AND (correct IS NULL OR correct)                    -- maths and puzzles: the gold answer, if there is one
AND (code_verdict IS NULL OR code_verdict = 'AC')   -- code: the tests, if they are run
AND NOT duplicate                                   -- the same text again for the same prompt
AND contaminated IS NULL                            -- needs [curate.contamination] with preset = "open-thoughts"
