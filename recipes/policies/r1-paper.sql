-- What DeepSeek kept for its distillates (arXiv 2501.12948, section 2.3.3): answers that are right, in a form that can be
-- read; "chain-of-thought with mixed languages, long paragraphs, and code blocks" was filtered out.
well_formed                         -- one block of thinking, and an answer after it
AND finished                        -- the teacher came to its own end
AND correct                         -- rejection sampling; drops what has no gold answer
AND stray_letters = 0               -- mixed languages: no word slipped into another script
AND foreign_paragraphs = 0          -- mixed languages: no paragraph is in another one than most
AND longest_paragraph <= 2000       -- long paragraphs, in characters: 98 of 100 of R1's traces have none
AND code_blocks = 0                 -- code blocks in the thinking
