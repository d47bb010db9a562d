/**
 * What several functions have in common, as Lua text that is put in front of them. Lua's own number to
 * text conversion says 1.8e+12 where decimal digits are meant: numbers become text by `digits` only.
 */

/** `call`, `digits(n)`, `clock()`: Redis' time in ms. */
export const LUA_BASE: string = `
local call = redis.call
local function digits(n) return string.format('%.0f', n) end
local function clock()
  local t = call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end
`;

/** Session Expiry Interval that means never [MQTT5-3.1.2.11.2]. */
export const NEVER_S = 4294967295;

/**
 * `ending(gone, expiry)`: when a session without connection ends in ms, 0: never or connected.
 * `nextLook(...)`: when somebody should look at a session nobody owns; 0: never.
 */
export const LUA_TIMES: string = `
local function ending(gone, expiry)
  if gone == 0 or expiry == ${NEVER_S} then return 0 end
  return gone + expiry * 1000
end
local function nextLook(now, hasOldWill, wdue, ends)
  if hasOldWill then return now end
  if wdue > 0 and (ends == 0 or wdue < ends) then return wdue end
  return ends
end
`;

/** `inSlices(list, each)`: unpack takes some thousands of values at most. */
export const LUA_SLICES: string = `
local function inSlices(list, each)
  for from = 1, #list, 1000 do
    each(unpack(list, from, math.min(from + 999, #list)))
  end
end
`;

/** A node that is further behind than this counts as dead. */
const END_MS = 120_000;

/**
 * The end of a durable session outlasts it for a while, by its epoch: `bury(e, epoch)`, `isBuried(e,
 * epoch)`. Whoever has not heard of it yet would write it again into a Redis that has restarted.
 */
export const LUA_ENDS: string = `
local function bury(e, epoch)
  call('HSET', e, 'epoch', epoch, 'until', digits(clock() + ${END_MS}))
  call('PEXPIRE', e, ${END_MS})
end
local function isBuried(e, epoch)
  local has = call('HMGET', e, 'epoch', 'until')
  return has[1] and tonumber(has[1]) >= tonumber(epoch) and tonumber(has[2]) > clock()
end
`;

/**
 * `fence(m, sid, epoch)`: nil, or the answer for who may not write: `fenced`: another has the session;
 * `gone`: Redis has none of that client.
 */
export const LUA_FENCE: string = `
local function fence(m, sid, epoch)
  local has = call('HMGET', m, 'sid', 'epoch')
  if not has[1] then return 'gone' end
  if has[1] ~= sid or has[2] ~= epoch then return 'fenced' end
end
`;
