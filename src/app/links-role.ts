/** The role of the one node of a region that has its links. */
export const LINKS_ROLE = 'links';
