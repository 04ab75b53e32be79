-- All that makes a trace a bad example, by limits on repetition that real traces of R1 stay under (of 6,000 one does not,
-- and it goes round in circles): tests/parity/curation_precision.md says how many of them each line drops, how often it is
-- right, and what it catches of planted defects.
well_formed                         -- one block of thinking, and an answer after it
AND finished                        -- the teacher came to its own end
AND NOT at_limit                    -- and did not use all tokens that it had
AND ending = 'complete'             -- the answer does not stop within a sentence, a formula or a program
AND thinking_ending = 'complete'    -- neither does the thinking: no </think> in the middle of a thought
AND lost_characters = 0             -- no U+FFFD where bytes were lost
AND correct                         -- drops what has no gold answer: for those, (correct IS NULL OR correct)
AND loop_chars = 0                  -- no loop at the end
AND most_repeated_20gram <= 5       -- no 20 words more than 5 times
AND duplicate_sentences <= 0.25     -- no more than a quarter was said before
AND compression <= 5                -- not as repetitive as trials that differ in their numbers only
AND stray_letters = 0               -- no word slipped into another script
AND foreign_paragraphs = 0          -- no paragraph in another language than most
AND NOT identity                    -- does not speak of itself as a model or an assistant
AND NOT refusal                     -- the answer is one
AND NOT leak                        -- the thinking knows of no solution that it was given
AND secrets IS NULL                 -- no addresses, numbers and keys of people
AND NOT duplicate                   -- not the same text as another of its prompt
AND NOT near_duplicate              -- nor nearly the same
AND contaminated IS NULL            -- needs [curate.contamination] with preset = "strict"
