/** What may be read from two ids: within one life of the log their order, else nothing. */

const parts = (id) => {
  const at = id.lastIndexOf("-");
  // A SEQ has at most 18 digits, more than a number holds: of the same length they compare as texts.
  return [id.slice(0, at), id.slice(at + 1).padStart(18, "0")];
};

export const isSameLife = (id, other) => !!id && !!other && parts(id)[0] === parts(other)[0];

/** Whether an id comes after another; if that can't be said, it may. */
export const isAfter = (id, other) => !isSameLife(id, other) || parts(id)[1] > parts(other)[1];

/** The cursor that is valid for both: the earlier one. None if one of them has none. */
export const earlier = (one, other) => one && other && (isAfter(one, other) ? other : one);
