/** 128 random bits as hex: one life of one node. Compared for equality, never ordered (hard case 1). */
export type Incarnation = string;
